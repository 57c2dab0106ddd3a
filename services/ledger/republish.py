"""Publishes again what the ledger takes to be in the broker, for a broker that was rebuilt empty."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kombu.transport.native_delayed_delivery import calculate_routing_key
from psycopg import Connection

from routing.topology import Topology
from services.ledger.database import Ledger
from services.ledger.dead_steps import Row, run
from services.ledger.message import Message

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Lost:
    """What the broker should hold of one queue. without_message: sent by hand, known to no ledger."""

    queue: str
    steps: int
    delayed: int
    without_message: int


def count(connection: Connection[Any], before: datetime, queue: str | None) -> list[Lost]:
    """What was published before then and is neither done nor given up."""
    rows = run(connection, "count_published", before=before, queue=queue)
    return [Lost(**row) for row in rows]


def republish(
    ledger: Ledger,
    topology: Topology,
    before: datetime,
    queue: str | None,
    per_second: float,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[int, set[str]]:
    """Publish each step's message again, the oldest first, with what is left of its delay.

    A step's `published_at` moves only with the broker's confirm, so that this
    can be killed and begun again at any moment; two at once skip each other's
    rows. A step whose message is in the broker all the same is delivered twice
    and done once. Returns how many were confirmed, and the queues that refused.

    Raises:
        Unavailable: the broker does not answer.
    """
    published, refusing = 0, set[str]()
    size = max(1, min(_BATCH, int(per_second)))
    started = time.monotonic()
    while True:
        with ledger.connection() as connection:
            rows = run(
                connection,
                "take_published",
                before=before,
                queue=queue,
                except_queues=sorted(refusing),
                limit=size,
            )
            messages = [_as_due(row, topology) for row in rows]
            confirmed = ledger.publisher().publish(messages)
            run(connection, "note_republished", ids=confirmed)
        published += len(confirmed)
        on_batch(len(confirmed))
        taken = set(confirmed)
        refusing |= {message.queue for message in messages if message.step_id not in taken}
        if len(messages) < size:
            return published, refusing
        time.sleep(max(0.0, published / per_second - (time.monotonic() - started)))


def _as_due(row: Row, topology: Topology) -> Message:
    """A step's message for now: delayed by the rest of its delay, or not at all."""
    message = Message.from_json(row["message"])
    remaining = math.ceil(row["remaining"] or 0)
    if remaining < 1:
        return replace(message, exchange=topology.work_exchange, routing_key=message.queue)
    key = calculate_routing_key(remaining, message.queue)
    return replace(message, exchange=topology.delays.entrance, routing_key=key)
