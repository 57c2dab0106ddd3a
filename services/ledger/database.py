"""The ledger's own connections to PostgreSQL and its publisher, for callers outside a step."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from celery import Celery
from psycopg import Connection
from psycopg_pool import ConnectionPool

from services.domain.errors import Unavailable
from services.ledger import store
from services.ledger.message import Message
from services.ledger.publisher import Publisher
from services.sessions import SESSION, Session, check

_STATEMENT_TIMED_OUT = "57014"
_AWAY = (
    "25006",  # read-only: a standby that was not promoted yet, or a server that protects a full disk
    "25P03",  # it ended our session, because this process stood still in its transaction
)
_AWAY_CLASSES = (
    "08",  # connection
    "53",  # resources
    "57",  # an operator's intervention, a shutdown among them
    "58",  # the system around it: its disk
)


def is_away(error: psycopg.Error) -> bool:
    """Whether PostgreSQL cannot be reached or cannot write now: waiting helps, and nothing failed."""
    state = error.sqlstate or ""
    if state == _STATEMENT_TIMED_OUT:
        return False
    if state in _AWAY:
        return True
    is_fault = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return is_fault and (not state or state[:2] in _AWAY_CLASSES)


class Ledger:
    """Connections and publishing for one process; opens nothing until first used."""

    def __init__(self, app: Celery, database_url: str, name: str = "doorbell") -> None:
        self._app = app
        self._pool: ConnectionPool[Connection[Any]] | None = None
        self._database_url = database_url
        self._name = name
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection in a transaction: commits at the end, rolls back on an exception."""
        with self._opened().connection() as connection:
            yield connection

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish committed messages; what gets no confirm is left to the relay."""
        if not messages:
            return
        try:
            confirmed = self.publisher().publish(messages)
        except Unavailable:
            return
        with self.connection() as connection:
            store.mark_published(connection, confirmed, messages)

    def publisher(self) -> Publisher:
        """This thread's publisher."""
        if not hasattr(self._local, "publisher"):
            self._local.publisher = Publisher(self._app)
        publisher: Publisher = self._local.publisher
        return publisher

    def connect(self) -> Connection[Any]:
        """A connection of the caller's own, outside the pool."""
        return Session.connect(self._database_url, application_name=self._name, **SESSION)

    def close(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            self._pool.close()

    def _opened(self) -> ConnectionPool[Connection[Any]]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._database_url,
                    connection_class=Session,
                    kwargs={"application_name": self._name, **SESSION},
                    min_size=1,
                    max_size=8,
                    # Both short, so that it is back as soon as the database is: who waits in the pool
                    # does not hear that an attempt to connect was given up.
                    timeout=2,
                    reconnect_timeout=1.0,
                    check=check,
                    open=True,
                )
            return self._pool
