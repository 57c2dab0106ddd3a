"""How many steps of a task the whole fleet may begin a second; those above it are parked until it is their turn.

A token bucket for each limited task, in the ledger, where all hosts see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from services.queries import load_queries

BURST_SECONDS = 5.0
"""So much of the rate may begin at once: parked steps get their permits every other second, in portions."""

_SQL = {name: text.encode() for name, text in load_queries(__package__, "limits.sql").items()}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit that nobody has lifted yet, in steps a second."""

    task: str
    per_second: float
    set_by: str
    set_at: datetime


def open_limits(connection: Connection[Any]) -> list[RateLimit]:
    """All limits of this moment, by task."""
    with connection.cursor(row_factory=class_row(RateLimit)) as cursor:
        return cursor.execute(_SQL["open_limits"]).fetchall()


def limit(connection: Connection[Any], task: str, per_second: float, actor: str) -> None:
    """From now on the fleet begins so many steps of a task a second; takes the place of an older limit."""
    lift(connection, task, actor)
    burst = max(1.0, per_second * BURST_SECONDS)
    values = {"task": task, "per_second": per_second, "burst": burst, "actor": actor}
    connection.execute(_SQL["limit"], values)


def lift(connection: Connection[Any], task: str, actor: str) -> bool:
    """End the limit of a task, and return whether there was one; the relay then sends what is parked."""
    return bool(connection.execute(_SQL["lift"], {"task": task, "actor": actor}).rowcount)


def take(connection: Connection[Any], task: str, step_ids: Sequence[str]) -> set[str]:
    """Which of these steps may begin now; the others are to be parked.

    Holds the task's bucket until the transaction ends, so that it should end soon. A permit that is
    taken is used up, whatever becomes of the step: a retry asks anew.
    """
    given = {str(row[0]) for row in connection.execute(_SQL["use_permits"], {"ids": [*step_ids]})}
    left = [step_id for step_id in step_ids if step_id not in given]
    bucket = connection.execute(_SQL["filled"], {"task": task}).fetchone()
    if bucket is None:
        return {*step_ids}
    row, permits, others_wait = bucket
    now = left[: 0 if others_wait else math.floor(permits)]
    connection.execute(_SQL["leave"], {"id": row, "permits": permits - len(now)})
    return given | {*now}


def release(connection: Connection[Any]) -> int:
    """Give parked steps of limited tasks to the relay, as many as there are permits; returns how many."""
    connection.execute(_SQL["forget_permits"])
    released = 0
    for each in open_limits(connection):
        bucket = connection.execute(_SQL["filled"], {"task": each.task}).fetchone()
        if bucket is None:
            continue
        row, permits, _ = bucket
        wanted = {"task": each.task, "permits": math.floor(permits)}
        sent = connection.execute(_SQL["release"], wanted).rowcount
        connection.execute(_SQL["leave"], {"id": row, "permits": permits - sent})
        released += sent
    return released
