"""Exports of what is kept about users, on a PostgreSQL connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg import errors as postgres
from psycopg.rows import class_row, dict_row

from services import personal_data
from services.domain.errors import Unavailable
from services.handlers.export_user import BeginExports, Export, Exports, Part
from services.queries import load_queries

_LOST_RACE = (postgres.SerializationFailure, postgres.DeadlockDetected, postgres.UniqueViolation)
_SQL = {
    name: text.encode() for name, text in load_queries("services.adapters", "exports.sql").items()
}


def exports(connect: Callable[[], AbstractContextManager[Connection[Any]]]) -> BeginExports:
    """Short transactions, each on a connection that `connect` lends and commits or rolls back."""

    @contextmanager
    def begin() -> Iterator[Exports]:
        with connect() as connection:
            yield PostgresExports(connection)

    return begin


class PostgresExports:
    """Implements `services.handlers.export_user.Exports`; whoever owns the connection commits."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def find(self, workflow_id: UUID) -> Export | None:
        rows = self._run("export", id=workflow_id)
        return Export(**rows[0]) if rows else None

    def collect_rows(self, workflow_id: UUID) -> int | None:
        self._run("one_snapshot")
        export = self.find(workflow_id)
        if export is None:
            return None
        try:
            self._run("drop_parts", id=workflow_id, store="database")
            return personal_data.collect(
                self._connection, export.tenant_id, export.user_id, workflow_id
            )
        except _LOST_RACE as error:
            raise Unavailable(
                f"a second copy of this step was at it: {type(error).__name__}"
            ) from error

    def put_aside(self, workflow_id: UUID, part: Part) -> None:
        self._run("drop_parts", id=workflow_id, store=part.store)
        self._run(
            "put_aside",
            id=workflow_id,
            store=part.store,
            what=part.name,
            rows=part.rows,
            body=part.body,
        )

    def parts(self, workflow_id: UUID) -> Iterator[Part]:
        with self._connection.cursor("parts", row_factory=class_row(Part)) as cursor:
            cursor.itersize = 1
            yield from cursor.execute(_SQL["parts"], {"id": workflow_id})

    def keep_archive(self, workflow_id: UUID, archive: bytes) -> None:
        self._run("keep_archive", id=workflow_id, archive=archive)

    def _run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[name], values)
            return cursor.fetchall() if cursor.description else []
