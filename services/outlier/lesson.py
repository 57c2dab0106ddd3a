"""A list of logins to learn: what is known of them is read once, counted in memory, and written at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from services.outlier.model import Seen, Totals
from services.outlier.store import ALL_USERS, Store, month_of


class Lesson:
    """Answers as the store would after each login, in one transaction of the caller's.

    `services.outlier.store.Store` one login at a time gives the same counts; what most logins of a list share
    is read and written once here.
    """

    def __init__(self, store: Store, tenant_id: str, request_ids: Iterable[str]) -> None:
        """request_ids: of all logins that it may learn."""
        self._store = store
        self._tenant_id = tenant_id
        self._totals: Totals | None = None
        self._of_users: dict[str, tuple[int, Counter[tuple[str, str]], Counter[str]]] = {}
        self._of_all: dict[tuple[str, str], int] = {}
        self._distinct: dict[str, int] = {}
        self._new_values: Counter[str] = Counter()
        self._user_logins: Counter[tuple[str, str]] = Counter()
        self._values: Counter[tuple[str, str, str, str]] = Counter()
        self._learned_before = store.learned_among(tenant_id, request_ids)
        self._learned: set[str] = set()
        self._new_users = 0
        self._now = datetime.now(UTC)
        self._asked = month_of(self._now)

    def totals(self, user_id: str) -> Totals:
        """As `Store.totals`, with this lesson's logins."""
        if self._totals is None:
            self._totals = self._store.totals(self._tenant_id, user_id)
        before = self._totals
        logins, users = before.logins + len(self._learned), before.users + self._new_users
        return Totals(logins, users, self._of_user(user_id)[0])

    def seen(self, user_id: str, facts: Mapping[str, str]) -> dict[str, Seen]:
        """As `Store.seen`, with this lesson's logins."""
        _, values, levels = self._of_user(user_id)
        return {
            level: Seen(
                values[level, value],
                self._by_all(level, value),
                self._distinct_of(level),
                levels[level],
            )
            for level, value in facts.items()
        }

    def learn(
        self, request_id: str, user_id: str, facts: Mapping[str, str], occurred_at: datetime
    ) -> bool:
        """As `Store.learn`; false: it was learned before."""
        if request_id in self._learned_before or request_id in self._learned:
            return False
        month = month_of(min(occurred_at, self._now))
        logins, values, levels = self._of_user(user_id)
        self._learned.add(request_id)
        self._new_users += logins == 0
        self._of_users[user_id] = (logins + 1, values, levels)
        self._user_logins[user_id, month] += 1
        for level, value in facts.items():
            if self._by_all(level, value) == 0:
                self._distinct[level] = self._distinct_of(level) + 1
                self._new_values[level] += 1
            self._of_all[level, value] += 1
            values[level, value] += 1
            levels[level] += 1
            for owner in (user_id, ALL_USERS):
                self._values[owner, level, value, month] += 1
        return True

    def write(self) -> int:
        """Add it to the history; how many logins it had."""
        if self._learned:
            self._store.mark_learned(self._tenant_id, self._learned, self._asked)
            self._store.add(
                self._tenant_id,
                (len(self._learned), self._new_users),
                self._user_logins,
                self._new_values,
                self._values,
            )
        return len(self._learned)

    def _of_user(self, user_id: str) -> tuple[int, Counter[tuple[str, str]], Counter[str]]:
        found = self._of_users.get(user_id)
        if found is None:
            logins, counts = self._store.counts_of(self._tenant_id, user_id)
            levels: Counter[str] = Counter()
            for (level, _), count in counts.items():
                levels[level] += count
            found = self._of_users[user_id] = (logins, Counter(counts), levels)
        return found

    def _by_all(self, level: str, value: str) -> int:
        found = self._of_all.get((level, value))
        if found is None:
            found = self._store.count_of_all(self._tenant_id, level, value)
            self._of_all[level, value] = found
        return found

    def _distinct_of(self, level: str) -> int:
        found = self._distinct.get(level)
        if found is None:
            found = self._distinct[level] = self._store.distinct_of(self._tenant_id, level)
        return found
