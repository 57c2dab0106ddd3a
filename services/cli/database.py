"""The command's own queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from services.queries import load_queries

Connection = psycopg.Connection[dict[str, Any]]
_SQL = {
    name: text.encode()
    for name, text in (
        load_queries(__package__, "cli.sql") | load_queries("services", "standby.sql")
    ).items()
}


@contextmanager
def connected(database_url: str) -> Iterator[Connection]:
    """A connection in a transaction that the end of the block commits."""
    with psycopg.connect(
        database_url,
        row_factory=dict_row,
        connect_timeout=5,
        application_name="doorbell-cli",
        options="-c statement_timeout=30000",
    ) as connection:
        yield connection


def fetch(connection: Connection, query: str, /, **values: object) -> list[dict[str, Any]]:
    """The rows of a named query."""
    cursor = connection.execute(_SQL[query], values)
    return cursor.fetchall() if cursor.description else []
