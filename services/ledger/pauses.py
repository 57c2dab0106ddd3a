"""Which tasks are paused: their steps are parked in the ledger, and take no place in a queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from services.ledger.message import Message
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "pauses.sql").items()}


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that nobody has ended yet. drops: its steps are given up, not kept."""

    task: str
    drops: bool
    paused_by: str
    paused_at: datetime


def open_pauses(connection: Connection[Any]) -> list[Pause]:
    """All that is paused at this moment, the oldest first."""
    with connection.cursor(row_factory=class_row(Pause)) as cursor:
        return cursor.execute(_SQL["open_pauses"]).fetchall()


def parked(connection: Connection[Any]) -> dict[str, int]:
    """How many steps of each task are parked."""
    return dict(connection.execute(_SQL["parked"]).fetchall())


def pause(connection: Connection[Any], task: str, actor: str, drops: bool = False) -> None:
    """From now on no step of a task begins; what is under way ends as it would. Idempotent."""
    values = {"task": task, "drops": drops, "actor": actor}
    connection.execute(_SQL["end_other"], values)
    connection.execute(_SQL["pause"], values)


def resume(connection: Connection[Any], task: str, actor: str) -> bool:
    """End the pause of a task, and return whether there was one; the relay then sends what is parked."""
    return bool(connection.execute(_SQL["resume"], {"task": task, "actor": actor}).rowcount)


def park(connection: Connection[Any], steps: Sequence[tuple[str, Message]]) -> None:
    """Keep steps (id, the message that was delivered) until their task is resumed. Idempotent."""
    values = {
        "ids": [step_id for step_id, _ in steps],
        "messages": [message.to_json() for _, message in steps],
    }
    connection.execute(_SQL["park"], values)


def unpark(connection: Connection[Any], limit: int) -> int:
    """Give up to `limit` parked steps whose task is held back no more to the relay; returns how many."""
    return connection.execute(_SQL["unpark"], {"limit": limit}).rowcount
