"""Asks for the permits of steps whose task is limited for the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection

from services.ledger import limits
from services.runner.delivery import Delivery

_ENDED = ("done", "failed", "dead")


def take_permits(
    connection: Connection[Any],
    deliveries: Sequence[Delivery],
    rows: Mapping[str, Mapping[str, Any]],
) -> bool:
    """Decide for those that need a permit whether they have one; False when nobody needed one.

    Otherwise the transaction has ended, and with it the locks on the rows: a bucket is held for no
    longer than it takes to ask, and not while handlers run.
    """
    asking: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        row = rows[delivery.id]
        is_open = delivery.is_permitted is None and delivery.outcome is None
        if is_open and row["is_limited"] and row["state"] not in _ENDED:
            asking.setdefault(delivery.task, []).append(delivery)
    if not asking:
        return False
    connection.rollback()
    for task, members in asking.items():
        permitted = limits.take(connection, task, [member.id for member in members])
        connection.commit()
        for member in members:
            member.is_permitted = member.id in permitted
    return True
