"""Reserves I/O steps for this process while their handlers' calls are under way."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from psycopg import Connection

from services.ledger import store
from services.runner.delivery import Delivery

DEFAULT_LEASE_SECONDS = 60.0
"""How long a second copy of a message waits for a call without a soft limit."""


def reserve(connection: Connection[Any], run: Sequence[Delivery]) -> dict[str, bool | None]:
    """Of each step that is to be called, by its id: True when it is reserved now, None when another process is at it.

    run: steps whose rows are locked; those whose outcome is known already are not called. Commits. A
    reservation lasts until the step's soft limit, or for DEFAULT_LEASE_SECONDS.
    """
    wanted = [delivery for delivery in run if delivery.outcome is None]
    asked = []
    for delivery in wanted:
        seconds = float(delivery.soft_limit or DEFAULT_LEASE_SECONDS)
        delivery.lease_ends = monotonic() + seconds
        asked.append((delivery.id, seconds, delivery.is_redelivered, delivery.leased_until))
    leased = store.lease(connection, asked) if asked else {}
    connection.commit()
    for delivery in wanted:
        delivery.leased_until = leased.get(delivery.id, delivery.leased_until)
    return {delivery.id: True if delivery.id in leased else None for delivery in wanted}
