"""The reference outlier API's storage: one SQLite file, used from one thread but for writing its log back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from services.outlier.model import Seen, Totals

ALL_USERS = ""
"""Whose counts are those of all users."""
_FOR_EVER = "9999-99"
_LOCK_WAIT_SECONDS = 2.0
_LONG_LOG_CHANGES = 8000
"""Rows, of some 500 logins: the log has 32 MB then. Writing it back more often costs more, for a page that
changes again is written once."""

_LONGEST_LOG_PAGES = 32_000
"""128 MB: a log that nobody writes back in time is written back while a request waits."""

_CACHE_KIB = 16 * 1024
"""SQLite's usual 2 MiB hold the pages of some thousand users: others are read and written again and again."""


class Store:
    """Counts of facts and the answers given.

    A commit survives the death of the process. The last ones before a power cut may be
    lost (WAL, synchronous=NORMAL): the history is an approximation anyway, and a client
    that asks again gets an answer.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises sqlite3.Error when it cannot be used."""
        self._path = path
        self._connection = self._connect()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_LONGEST_LOG_PAGES}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # Who was forgotten is not left in pages that nothing uses; many builds of SQLite do so unasked.
        self._connection.execute("PRAGMA secure_delete = ON")
        with self.transaction():
            self._prepare()
        self._queries = _named(_sql("queries.sql"))
        self._changes_written_back = 0
        self._has_forgotten = False

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)

    def _prepare(self) -> None:
        months = _named(_sql("months.sql"))
        columns = self._connection.execute("PRAGMA table_info(value_count)").fetchall()
        is_old = columns and "month" not in {column[1] for column in columns}
        steps = [sql for name, sql in months.items() if name.startswith("set_aside")]
        for statement in steps if is_old else []:
            self._connection.execute(statement)
        for statement in _sql("schema.sql").split("\n\n"):
            self._connection.execute(statement)
        for name, statement in months.items() if is_old else []:
            if not name.startswith("set_aside"):
                self._connection.execute(statement, {"month": month_of(datetime.now(UTC))})

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; writers of other processes wait."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def ping(self) -> None:
        """Raises sqlite3.Error when the storage does not answer."""
        self._connection.execute("SELECT 1")

    @property
    def is_log_long(self) -> bool:
        """Whether it is time to write the write-ahead log back into the file; after a user was forgotten it is."""
        return (
            self._has_forgotten
            or self._connection.total_changes - self._changes_written_back > _LONG_LOG_CHANGES
        )

    def write_back_beside(self) -> None:
        """Write the log back over a connection of its own, for another thread: the storage can be used meanwhile.

        What is committed meanwhile keeps the log from starting over: `write_back_rest` follows.
        """
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def write_back_rest(self) -> None:
        """Write back what `write_back_beside` left, milliseconds to a few tens of them; the log starts over.

        Where somebody was forgotten it is emptied, for in what is not written over yet stands who that was;
        while another process reads the file that has to wait, and no login with it.
        """
        way = "TRUNCATE" if self._has_forgotten else "PASSIVE"
        self._connection.execute("PRAGMA busy_timeout = 0")
        is_busy = self._connection.execute(f"PRAGMA wal_checkpoint({way})").fetchone()[0]
        self._connection.execute(f"PRAGMA busy_timeout = {_LOCK_WAIT_SECONDS * 1000:.0f}")
        self._changes_written_back = self._connection.total_changes
        self._has_forgotten = self._has_forgotten and bool(is_busy)

    def find_answer(self, tenant_id: str, key: str) -> tuple[str, str] | None:
        """The digest of the request and the body of the answer kept under `key`."""
        row = self._run("find_answer", tenant_id=tenant_id, key=key).fetchone()
        return None if row is None else (row[0], row[1])

    def keep_answer(self, tenant_id: str, key: str, digest: str, body: str) -> None:
        month = month_of(datetime.now(UTC))
        self._run(
            "keep_answer", tenant_id=tenant_id, key=key, digest=digest, body=body, month=month
        )

    def totals(self, tenant_id: str, user_id: str) -> Totals:
        return Totals(*self._run("totals", tenant_id=tenant_id, user_id=user_id).fetchone())

    def seen(self, tenant_id: str, user_id: str, facts: Mapping[str, str]) -> dict[str, Seen]:
        """For each level of `facts`, how its value stands in the history."""
        return {
            level: Seen(
                *self._run(
                    "seen", tenant_id=tenant_id, user_id=user_id, level=level, value=value
                ).fetchone()
            )
            for level, value in facts.items()
        }

    def learn(
        self,
        tenant_id: str,
        request_id: str,
        user_id: str,
        facts: Mapping[str, str],
        occurred_at: datetime,
    ) -> None:
        """Add a login to the history; a `request_id` that is there already changes nothing."""
        now = datetime.now(UTC)
        asked, month = month_of(now), month_of(min(occurred_at, now))
        if not self._run(
            "mark_learned", tenant_id=tenant_id, request_id=request_id, month=asked
        ).rowcount:
            return
        is_new_user = self.totals(tenant_id, user_id).user_logins == 0
        self._run("count_user", tenant_id=tenant_id, user_id=user_id, month=month)
        self._run("count_tenant", tenant_id=tenant_id, new_users=int(is_new_user))
        for level, seen in self.seen(tenant_id, user_id, facts).items():
            if seen.by_all == 0:
                self._run("count_level", tenant_id=tenant_id, level=level)
            for owner in (user_id, ALL_USERS):
                self._run(
                    "count_value",
                    tenant_id=tenant_id,
                    user_id=owner,
                    level=level,
                    value=facts[level],
                    month=month,
                )

    def learned_among(self, tenant_id: str, request_ids: Iterable[str]) -> set[str]:
        """Those of these logins that were learned before."""
        ids = json.dumps([*request_ids])
        return {row[0] for row in self._run("learned_among", tenant_id=tenant_id, ids=ids)}

    def mark_learned(self, tenant_id: str, request_ids: Iterable[str], month: str) -> None:
        """Note logins as learned, in the caller's transaction."""
        rows = [
            {"tenant_id": tenant_id, "request_id": each, "month": month}
            for each in sorted(request_ids)
        ]
        self._connection.executemany(self._queries["mark_learned"], rows)

    def counts_of(self, tenant_id: str, user_id: str) -> tuple[int, dict[tuple[str, str], int]]:
        """How many logins of a user there are, and how many by level and value."""
        whose = {"tenant_id": tenant_id, "user_id": user_id}
        logins = int(self._run("logins_of", **whose).fetchone()[0])
        counts = self._run("counts_of", **whose) if logins else ()
        return logins, {(level, value): count for level, value, count in counts}

    def count_of_all(self, tenant_id: str, level: str, value: str) -> int:
        """How many logins of all users had a value."""
        found = self._run("count_of_all", tenant_id=tenant_id, level=level, value=value)
        return int(found.fetchone()[0])

    def distinct_of(self, tenant_id: str, level: str) -> int:
        """How many values of a level there are."""
        return int(self._run("distinct_of", tenant_id=tenant_id, level=level).fetchone()[0])

    def add(
        self,
        tenant_id: str,
        totals: tuple[int, int],
        user_logins: Mapping[tuple[str, str], int],
        new_values: Mapping[str, int],
        values: Mapping[tuple[str, str, str, str], int],
    ) -> None:
        """Add logins that are marked as learned to the counts, in the caller's transaction.

        totals: how many, and how many new users. user_logins: by user and month. new_values: by
        level. values: by user ('' counts all), level, value and month.
        """
        logins, users = totals
        self._run("add_tenant", tenant_id=tenant_id, logins=logins, users=users)
        for name, rows in (
            ("add_user", user_logins.items()),
            ("add_value", values.items()),
        ):
            ordered = sorted((tenant_id, *key, count) for key, count in rows)
            self._connection.executemany(self._queries[name], ordered)
        levels = [(tenant_id, level, count) for level, count in new_values.items()]
        self._connection.executemany(self._queries["add_level"], levels)

    def learned_of(self, tenant_id: str, user_id: str) -> list[tuple[str, str, str, int]]:
        """Month, level, value, and how many of the user's logins had it; in order."""
        return self._run("learned_of", tenant_id=tenant_id, user_id=user_id).fetchall()

    def forget(self, tenant_id: str, user_id: str, before: str = _FOR_EVER) -> int:
        """Take a user's logins out of the history, in the caller's transaction; how many they were.

        Answers that were given, and which logins were learned, stay: they name no user.

        before: only logins of months before this one.
        """
        whose = {"tenant_id": tenant_id, "user_id": user_id, "before": before}
        logins = int(self._run("count_forgotten", **whose).fetchone()[0])
        if logins:
            for name in (
                *("take_values", "drop_values", "take_levels", "take_tenant"),
                *("drop_user_values", "drop_user"),
            ):
                self._run(name, **whose)
            self._has_forgotten = self._has_forgotten or before == _FOR_EVER
        return logins

    def forget_old(self, before: str, users_at_most: int, answers_at_most: int = 2000) -> int:
        """Forget some of what is of months before this one, in the caller's transaction; of how many users.

        answers_at_most: so many answers, and so many ids of learned logins.
        """
        users = self._run("old_users", before=before, at_most=users_at_most).fetchall()
        for tenant_id, user_id in users:
            self.forget(tenant_id, user_id, before)
        for name in ("drop_answers", "drop_learned"):
            self._run(name, before=before, at_most=answers_at_most)
        return len(users)

    def size(self) -> tuple[int, int]:
        """How many logins the history has, and of how many users."""
        logins, users = self._run("size").fetchone()
        return logins, users

    def _run(self, name: str, **values: str | int) -> sqlite3.Cursor:
        return self._connection.execute(self._queries[name], values)


def month_of(moment: datetime) -> str:
    """Such as 2026-03, in UTC: as text, months are in order."""
    utc = moment.astimezone(UTC)
    return f"{utc.year:04}-{utc.month:02}"


def months_before(moment: datetime, months: int) -> str:
    """The month so many before a moment's."""
    utc = moment.astimezone(UTC)
    year, month = divmod(utc.year * 12 + utc.month - 1 - months, 12)
    return f"{year:04}-{month + 1:02}"


def _sql(name: str) -> str:
    return resources.files("services.outlier").joinpath("sql", name).read_text()


def _named(text: str) -> dict[str, str]:
    """The statements of a file by the name in their `-- name:` line."""
    _, *parts = text.split("-- name: ")
    return {name: statement for name, _, statement in (part.partition("\n") for part in parts)}
