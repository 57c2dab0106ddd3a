"""One thread's own connection to PostgreSQL, opened again when it was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection

from services.ledger import store
from services.ledger.database import Ledger
from services.runner.delivery import Delivery

LOCK_SECONDS = 1.0
SHORT_LOCK_SECONDS = 0.1
"""How long a list waits for rows that another process holds; and a step that was redelivered or has waited already.

A host that is lost holds its rows until PostgreSQL notices. Who waits a second for each of them stands
still for long after that.
"""


class OwnConnection:
    """Opened when it is first needed. Not thread-safe.

    Whoever has the connection is in a transaction, and ends it: by a commit, or by `rollback`.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._connection: Connection[Any] | None = None
        self._limits: tuple[float | None, float] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def get(self) -> Connection[Any]:
        """The connection. Raises psycopg.OperationalError when PostgreSQL cannot be reached."""
        if self._connection is None or self._connection.closed:
            self._connection = self._ledger.connect()
        return self._connection

    def limit(self, deliveries: Sequence[Delivery]) -> None:
        """Let no statement of this list take longer than its shortest soft limit, nor wait long for rows."""
        # Whatever was redelivered may still be in the hands of a process that stands still.
        again = all(d.is_redelivered or d.is_put_off for d in deliveries)
        soft = min((d.soft_limit for d in deliveries if d.soft_limit), default=None)
        lock = SHORT_LOCK_SECONDS if again else LOCK_SECONDS
        # Who waits for a row is to hear that somebody holds it, not that a limit is over.
        limits = (soft, min(lock, soft / 2) if soft else lock)
        if limits != self._limits:
            store.limit_statements(self.get(), *limits, for_session=True)
            self._limits = limits

    def forget_limits(self) -> None:
        """Somebody rolled back, and PostgreSQL may have forgotten them."""
        self._limits = None

    def rollback(self) -> None:
        """End the transaction, if there is one; a connection that cannot even do that is dropped."""
        self.forget_limits()
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.rollback()
            except psycopg.Error:
                self.drop()

    def drop(self) -> None:
        """Close it; the next one who needs it gets another."""
        connection, self._connection = self._connection, None
        self.forget_limits()
        if connection is not None:
            connection.close()
