"""One circuit breaker for the whole fleet, kept in PostgreSQL where all hosts see it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from services.domain.errors import Unavailable
from services.queries import load_queries

_SQL = load_queries("services.adapters", "breaker.sql")

logger = logging.getLogger(__name__)

THRESHOLD = 5
"""Failures in a row before it opens: more than bad luck, few enough to spare a sick API."""

OPEN_SECONDS = 30.0
"""How long it stays open before one call may probe; about the time a service takes to restart."""


class PostgresBreaker:
    """Implements `services.handlers.ports.Breaker`; each statement commits by itself.

    After `threshold` failures in a row it is open for `open_seconds`; then one
    caller of the fleet is let through as a probe. Its success closes the breaker,
    its failure (or silence) keeps it open for as long again. One that an operator
    holds open lets nobody through: `services.ledger.breakers`.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection[Any]]],
        name: str,
        threshold: int = THRESHOLD,
        open_seconds: float = OPEN_SECONDS,
    ) -> None:
        """connect: lends a connection that commits each statement, or all of a block."""
        self._connect = connect
        self._values = {"name": name, "threshold": threshold, "open_seconds": open_seconds}

    def check(self) -> bool:
        with self._connect() as connection:
            found = self._run(connection, "look")
            if not found or found[0]["is_closed"]:
                return False
            if found[0]["is_probe_due"] and self._run(connection, "take_probe"):
                return True
        raise Unavailable(f"the circuit breaker {self._values['name']} is open")

    def record_success(self) -> None:
        self._record("record_success")

    def record_failure(self) -> None:
        self._record("record_failure")

    def _record(self, query: str) -> None:
        """Count it, if that can be written now: the call has its answer and is not made again for this."""
        try:
            with self._connect() as connection:
                self._run(connection, query)
        except psycopg.Error as error:
            logger.warning(
                "%s of breaker %s is not counted: %s", query, self._values["name"], error
            )

    def _run(self, connection: Connection[Any], query: str) -> list[dict[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[query], self._values)
            return cursor.fetchall()
