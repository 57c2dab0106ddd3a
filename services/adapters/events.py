"""What applications are to hear, on a PostgreSQL connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from services.handlers.event_ports import ApplicationEvent, BeginEvents, EventStore
from services.queries import load_queries

_SQL = load_queries("services.adapters", "events.sql")

BUSY_SECONDS = 60.0
"""Longer than a round of calls may take; who died in one is waited for so long."""
_FIRST_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 600.0
_LONGEST_CLOSED_SECONDS = 300.0


def event_stores(
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
) -> BeginEvents:
    """Short transactions, each on a connection that `connect` lends and commits or rolls back."""

    @contextmanager
    def begin() -> Iterator[EventStore]:
        with connect() as connection:
            yield PostgresEvents(connection)

    return begin


class PostgresEvents:
    """Implements `services.handlers.event_ports.EventStore`; whoever owns the connection commits."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def give_up_old(self) -> None:
        """Give up what was due for as long as it is kept, tried or not."""
        self._run("give_up_old")

    def claim_receivers(self, most: int) -> Mapping[str, int]:
        """Take tenants whose applications are to hear something now, so many at a time; each with whose turn it is."""
        rows = self._run("claim_receivers", most=most, busy_seconds=BUSY_SECONDS)
        return {row["tenant_id"]: row["turn"] for row in rows}

    def claim_events(
        self, tenant_id: str, turn: int, most: int, lease_seconds: float
    ) -> Sequence[ApplicationEvent]:
        rows = self._run(
            "claim_events",
            tenant_id=tenant_id,
            turn=turn,
            most=most,
            lease_seconds=lease_seconds,
        )
        return [ApplicationEvent(**row) for row in rows]

    def end_event(self, event_id: UUID, state: Literal["sent", "given_up"], answer: str) -> None:
        self._run("end_event", id=event_id, state=state, answer=answer)

    def put_off_event(self, event: ApplicationEvent, answer: str) -> bool:
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(event.attempts - 1, 20), _LONGEST_PAUSE_SECONDS)
        rows = self._run(
            "put_off_event",
            id=event.id,
            attempts=event.attempts,
            answer=answer,
            seconds=pause,
        )
        return not any(row["state"] == "given_up" for row in rows)

    def leave_receiver(self, tenant_id: str, turn: int, *, has_answered: bool | None) -> None:
        self._run(
            "leave_receiver",
            tenant_id=tenant_id,
            turn=turn,
            has_answered=has_answered,
            longest_pause_seconds=_LONGEST_CLOSED_SECONDS,
        )

    def _run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[name], values)
            return cursor.fetchall() if cursor.description else []
