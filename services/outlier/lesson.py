"""A list of logins to learn: what is known of them is read once, counted in memory, and written at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from services.outlier.model import Seen, Totals
from services.outlier.store import ALL_USERS, Store, month_of

_Counts = defaultdict[tuple[str, str], int]
"""Logins by level and value."""


@dataclass(slots=True)
class _OfUser:
    """One user's history."""

    logins: int
    values: _Counts


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
        self._of_users: dict[str, _OfUser] = {}
        self._of_all: dict[tuple[str, str], int] = {}
        self._distinct: dict[str, int] = {}
        self._new_values: Counter[str] = Counter()
        self._user_logins: Counter[tuple[str, str]] = Counter()
        self._values: dict[tuple[str, str], _Counts] = {}
        """By user ('' counts all) and month."""
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
        return Totals(logins, users, self._of_user(user_id).logins)

    def seen(self, user_id: str, facts: Mapping[str, str]) -> dict[str, Seen]:
        """As `Store.seen`, with this lesson's logins."""
        values = self._of_user(user_id).values
        known: Counter[str] = Counter()
        for (level, _), count in values.items():
            known[level] += count
        return {
            fact[0]: Seen(
                values.get(fact, 0),
                self._by_all(fact),
                self._distinct_of(fact[0]),
                known[fact[0]],
            )
            for fact in facts.items()
        }

    def learn(
        self, request_id: str, user_id: str, facts: Mapping[str, str], occurred_at: datetime
    ) -> bool:
        """As `Store.learn`; false: it was learned before."""
        if request_id in self._learned_before or request_id in self._learned:
            return False
        month = month_of(min(occurred_at, self._now))
        user = self._of_user(user_id)
        self._learned.add(request_id)
        self._new_users += user.logins == 0
        user.logins += 1
        self._user_logins[user_id, month] += 1
        of_user, of_all = self._values_of(user_id, month), self._values_of(ALL_USERS, month)
        for fact in facts.items():
            before = self._by_all(fact)
            if before == 0:
                level = fact[0]
                self._distinct[level] = self._distinct_of(level) + 1
                self._new_values[level] += 1
            self._of_all[fact] = before + 1
            user.values[fact] += 1
            of_user[fact] += 1
            of_all[fact] += 1
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
                {
                    (owner, level, value, month): count
                    for (owner, month), counts in self._values.items()
                    for (level, value), count in counts.items()
                },
            )
        return len(self._learned)

    def _of_user(self, user_id: str) -> _OfUser:
        found = self._of_users.get(user_id)
        if found is None:
            logins, counts = self._store.counts_of(self._tenant_id, user_id)
            found = self._of_users[user_id] = _OfUser(logins, defaultdict(int, counts))
        return found

    def _values_of(self, owner: str, month: str) -> _Counts:
        found = self._values.get((owner, month))
        if found is None:
            found = self._values[owner, month] = defaultdict(int)
        return found

    def _by_all(self, fact: tuple[str, str]) -> int:
        found = self._of_all.get(fact)
        if found is None:
            found = self._of_all[fact] = self._store.count_of_all(self._tenant_id, *fact)
        return found

    def _distinct_of(self, level: str) -> int:
        found = self._distinct.get(level)
        if found is None:
            found = self._distinct[level] = self._store.distinct_of(self._tenant_id, level)
        return found
