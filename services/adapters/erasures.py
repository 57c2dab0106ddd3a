"""Erasures of users, on a PostgreSQL connection."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg import errors as postgres
from psycopg.rows import dict_row

from services import personal_data
from services.domain.errors import Unavailable
from services.handlers.erase_user import BeginErasure, Erasures, Evidence
from services.personal_data import COPIES, PLACES, Place
from services.queries import load_queries

TOLD_SECONDS = 30.0
"""So long an application that does not take a call is waited for before its user is certified as erased."""
_SQL = load_queries("services.adapters", "erasures.sql")
_LOST_RACE = (
    postgres.DeadlockDetected,
    postgres.SerializationFailure,
    postgres.ForeignKeyViolation,
)


def erasures(connect: Callable[[], AbstractContextManager[Connection[Any]]]) -> BeginErasure:
    """Short transactions, each on a connection that `connect` lends and commits or rolls back."""

    @contextmanager
    def begin() -> Iterator[Erasures]:
        with connect() as connection:
            yield PostgresErasures(connection)

    return begin


@contextmanager
def _races() -> Iterator[None]:
    try:
        yield
    except _LOST_RACE as error:
        raise Unavailable(
            f"somebody else was at the user's rows: {type(error).__name__}"
        ) from error


class PostgresErasures:
    """Implements `services.handlers.erase_user.Erasures`; whoever owns the connection commits."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def user_of(self, erasure_id: UUID) -> tuple[str, str] | None:
        rows = self._run("erasure", id=erasure_id)
        return (rows[0]["tenant_id"], rows[0]["user_id"]) if rows else None

    def letters(self, erasure_id: UUID) -> Mapping[str, Sequence[str]]:
        return {row["queue"]: row["ids"] for row in self._run("letters", id=erasure_id)}

    def note_forgotten(self, erasure_id: UUID, answer: str) -> None:
        self._run("note_forgotten", id=erasure_id, answer=answer)

    def erase_copies(self, erasure_id: UUID) -> None:
        self._erase(erasure_id, COPIES, "note_copies")

    def erase(self, erasure_id: UUID) -> None:
        self._erase(erasure_id, PLACES, "note_erased")

    def look_again(self, erasure_id: UUID) -> Evidence | None:
        self._run("one_snapshot")
        with _races():
            self._run("forget_told", id=erasure_id, seconds=TOLD_SECONDS)
            if self._run("untold", id=erasure_id):
                raise Unavailable("the application is yet to hear that the user's switches are off")
            rows = self._run("evidence", id=erasure_id)
        if not rows:
            return None
        user = rows[0].pop("user_id")
        return Evidence(
            left=personal_data.count(self._connection, rows[0]["tenant_id"], user), **rows[0]
        )

    def certify(self, erasure_id: UUID, certificate: Mapping[str, Any]) -> None:
        with _races():
            self._run("certify", id=erasure_id, certificate=json.dumps(certificate))

    def _erase(self, erasure_id: UUID, places: Sequence[Place], note: str) -> None:
        self._run("one_snapshot")
        rows = self._run("erasure", id=erasure_id)
        if not rows or rows[0]["is_erased"]:
            return
        whose = {"tenant": rows[0]["tenant_id"], "user": rows[0]["user_id"]}
        with _races():
            self._run("lock_user", **whose)
            if self._run("lock_workflows", **whose):
                raise Unavailable("something is still being done for the user")
            if places is PLACES:
                self._run("keep_letters", id=erasure_id, **whose)
            # A step that is repeated, or follows another, adds to what went before.
            erased = Counter(rows[0]["erased"])
            on = [row["name"] for row in self._run("switches_on", **whose)]
            erased.update(personal_data.erase(self._connection, **whose, places=places))
            if places is PLACES:
                self._run("tell_off", **whose, names=on)
            self._run(note, id=erasure_id, rows=json.dumps(erased))

    def _run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[name], values)
            return cursor.fetchall() if cursor.description else []
