"""Circuit breakers as operators see and switch them; calls ask `services.adapters.breaker`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from services.queries import load_queries

NAMES = ("outlier_api",)
"""One for each service outside that a pool calls."""

Switch = Callable[[Connection[Any], str, str], None]
"""`hold_open` or `close`: of a connection, a breaker's name and who does it."""

_SQL = {name: text.encode() for name, text in load_queries(__package__, "breakers.sql").items()}


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker. failures: in a row; held_by: who keeps it open, if anybody does."""

    name: str
    failures: int
    open_until: datetime | None
    held_by: str | None
    changed_at: datetime | None

    @property
    def state(self) -> str:
        """`closed`; `open`, until a probe has an answer; `held`, until somebody closes it."""
        if self.held_by is not None:
            return "held"
        return "closed" if self.open_until is None else "open"


def breakers(connection: Connection[Any]) -> list[Breaker]:
    """All of them, also those that never had anything to count."""
    with connection.cursor(row_factory=class_row(Breaker)) as cursor:
        found = {each.name: each for each in cursor.execute(_SQL["breakers"])}
    return [found.get(name, Breaker(name, 0, None, None, None)) for name in NAMES]


def hold_open(connection: Connection[Any], name: str, actor: str) -> None:
    """Let no call through, nor a probe, until `close`. Idempotent."""
    connection.execute(_SQL["hold_open"], {"name": name, "actor": actor})
    connection.execute(_SQL["note"], {"name": name, "action": "open", "actor": actor})


def close(connection: Connection[Any], name: str, actor: str) -> None:
    """Let calls through at once, whoever or whatever opened it; failures are counted anew. Idempotent."""
    connection.execute(_SQL["close"], {"name": name})
    connection.execute(_SQL["note"], {"name": name, "action": "close", "actor": actor})
