"""Reserves I/O steps for this process while their handlers' calls are under way."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from psycopg import Connection

from services.ledger import store
from services.runner.delivery import Delivery

DEFAULT_LIMIT_SECONDS = 60.0
"""What a call without a soft limit is thought to last at most."""

_COMMIT_SECONDS = 5.0
"""What a call's answer may wait for its commit."""


def reserve(connection: Connection[Any], run: Sequence[Delivery]) -> dict[str, bool | None]:
    """Of each step that is to be called, by its id: True when it is reserved now, None when another process is at it.

    run: steps whose rows are locked; those whose outcome is known already are not called. Commits. A
    call may begin within the step's soft limit (or DEFAULT_LIMIT_SECONDS) from now, for it may have to wait
    for a place, and last for as long again; the reservation lasts until its answer is committed then.
    """
    wanted = [delivery for delivery in run if delivery.outcome is None]
    asked = []
    for delivery in wanted:
        limit = float(delivery.soft_limit or DEFAULT_LIMIT_SECONDS)
        delivery.may_begin_until = monotonic() + limit
        seconds = 2 * limit + _COMMIT_SECONDS
        ours = (delivery.leased_until, delivery.asked_until)
        asked.append((delivery.id, seconds, delivery.is_redelivered, *ours))
    leased = store.lease(connection, asked) if asked else {}
    for delivery in wanted:
        # The commit's answer may get lost.
        delivery.asked_until = leased.get(delivery.id, delivery.asked_until)
    connection.commit()
    for delivery in wanted:
        delivery.leased_until = leased.get(delivery.id, delivery.leased_until)
    return {delivery.id: True if delivery.id in leased else None for delivery in wanted}
