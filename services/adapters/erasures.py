"""Erasures of users, on a PostgreSQL connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg import errors as postgres
from psycopg.rows import dict_row

from services import personal_data
from services.domain.errors import Unavailable
from services.handlers.erase_user import BeginErasure, Erasures
from services.queries import load_queries

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


class PostgresErasures:
    """Implements `services.handlers.erase_user.Erasures`; whoever owns the connection commits."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def user_of(self, erasure_id: UUID) -> tuple[str, str] | None:
        rows = self._run("erasure", id=erasure_id)
        return (rows[0]["tenant_id"], rows[0]["user_id"]) if rows else None

    def note_forgotten(self, erasure_id: UUID, answer: str) -> None:
        self._run("note_forgotten", id=erasure_id, answer=answer)

    def erase(self, erasure_id: UUID) -> None:
        self._run("one_snapshot")
        rows = self._run("erasure", id=erasure_id)
        if not rows or rows[0]["is_erased"]:
            return
        tenant, user = rows[0]["tenant_id"], rows[0]["user_id"]
        try:
            self._run("lock_user", tenant=tenant, user=user)
            if self._run("lock_workflows", tenant=tenant, user=user):
                raise Unavailable("something is still being done for the user")
            erased = personal_data.erase(self._connection, tenant, user)
            self._run("note_erased", id=erasure_id, rows=json.dumps(erased))
        except _LOST_RACE as error:
            raise Unavailable(
                f"somebody else was at the user's rows: {type(error).__name__}"
            ) from error

    def _run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[name], values)
            return cursor.fetchall() if cursor.description else []
