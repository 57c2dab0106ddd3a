"""Connections to PostgreSQL: a pool of them, and how one is lent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool

from services.sessions import SESSION, Session, check


def open_pool(
    database_url: str, application_name: str, max_size: int = 8, timeout_seconds: float = 2.0
) -> ConnectionPool[Connection[Any]]:
    """A pool of checked connections; it connects in the background.

    Taking a connection raises `psycopg.OperationalError` when PostgreSQL is away
    for longer than `timeout_seconds`: briefly, for who waits in the pool does not
    hear that it has given up an attempt to connect, and only a new caller makes
    it try again. The caller closes the pool.
    """
    return ConnectionPool(
        database_url,
        connection_class=Session,
        kwargs={"application_name": application_name, **SESSION},
        min_size=1,
        max_size=max_size,
        timeout=timeout_seconds,
        # Short: a pool that waits longer between its attempts is still away when the database is back.
        reconnect_timeout=1.0,
        check=check,
        open=True,
    )


class Connections:
    """A pool's connections, each lent for a short transaction or for statements that commit by themselves."""

    def __init__(self, pool: ConnectionPool[Connection[Any]]) -> None:
        self._pool = pool

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """Commits at the end of the block, rolls back on an error."""
        with self._pool.connection() as connection:
            _set_autocommit(connection, to=False)
            yield connection

    @contextmanager
    def direct(self) -> Iterator[Connection[Any]]:
        """Each statement is a transaction: without a round trip to begin it, and one to commit."""
        with self._pool.connection() as connection:
            _set_autocommit(connection, to=True)
            yield connection


def _set_autocommit(connection: Connection[Any], *, to: bool) -> None:
    try:
        connection.autocommit = to
    except psycopg.ProgrammingError as error:
        # psycopg takes a connection that was lost for one in a transaction.
        raise psycopg.OperationalError("the connection was lost") from error
