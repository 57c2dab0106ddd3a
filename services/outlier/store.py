"""The reference outlier API's storage: one SQLite file, used from one thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from services.outlier.model import Seen, Totals

_ALL_USERS = ""
_LOCK_WAIT_SECONDS = 2.0
_CHECKPOINT_PAGES = 8000
"""32 MB between checkpoints: each one syncs the disk while a request waits, and SQLite's
usual 1000 pages are full after some 60 logins."""


class Store:
    """Counts of facts and the answers given.

    A commit survives the death of the process. The last ones before a power cut may be
    lost (WAL, synchronous=NORMAL): the history is an approximation anyway, and a client
    that asks again gets an answer.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises sqlite3.Error when it cannot be used."""
        self._connection = sqlite3.connect(path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._connection.executescript(_sql("schema.sql"))
        self._queries = _named(_sql("queries.sql"))

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

    def find_answer(self, tenant_id: str, key: str) -> tuple[str, str] | None:
        """The digest of the request and the body of the answer kept under `key`."""
        row = self._run("find_answer", tenant_id=tenant_id, key=key).fetchone()
        return None if row is None else (row[0], row[1])

    def keep_answer(self, tenant_id: str, key: str, digest: str, body: str) -> None:
        self._run("keep_answer", tenant_id=tenant_id, key=key, digest=digest, body=body)

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
        self, tenant_id: str, request_id: str, user_id: str, facts: Mapping[str, str]
    ) -> None:
        """Add a login to the history; a `request_id` that is there already changes nothing."""
        if not self._run("mark_learned", tenant_id=tenant_id, request_id=request_id).rowcount:
            return
        is_new_user = self.totals(tenant_id, user_id).user_logins == 0
        self._run("count_user", tenant_id=tenant_id, user_id=user_id)
        self._run("count_tenant", tenant_id=tenant_id, new_users=int(is_new_user))
        for level, seen in self.seen(tenant_id, user_id, facts).items():
            if seen.by_all == 0:
                self._run("count_level", tenant_id=tenant_id, level=level)
            for owner in (user_id, _ALL_USERS):
                self._run(
                    "count_value",
                    tenant_id=tenant_id,
                    user_id=owner,
                    level=level,
                    value=facts[level],
                )

    def forget(self, tenant_id: str, user_id: str) -> int:
        """Take a user's logins out of the history, in the caller's transaction; how many they were.

        Answers that were given, and which logins were learned, stay: they name no user.
        """
        logins = self.totals(tenant_id, user_id).user_logins
        if logins:
            for name in (
                *("take_values", "drop_values", "count_levels_again", "take_tenant"),
                *("drop_user_values", "drop_user"),
            ):
                self._run(name, tenant_id=tenant_id, user_id=user_id)
        return logins

    def _run(self, name: str, **values: str | int) -> sqlite3.Cursor:
        return self._connection.execute(self._queries[name], values)


def _sql(name: str) -> str:
    return resources.files("services.outlier").joinpath("sql", name).read_text()


def _named(text: str) -> dict[str, str]:
    """The statements of a file by the name in their `-- name:` line."""
    _, *parts = text.split("-- name: ")
    return {name: statement for name, _, statement in (part.partition("\n") for part in parts)}
