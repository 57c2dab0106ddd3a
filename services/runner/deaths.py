"""Keeps made-up `x-death` headers away from the broker's dead-lettering."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_FIELDS: Mapping[str, type] = {
    "count": int,
    "reason": str,
    "queue": str,
    "exchange": str,
    "routing-keys": list,
    "time": datetime,
}


def are_deaths(value: Any) -> bool:
    """Whether this is what the broker itself writes into `x-death`: a list of tables, or nothing.

    RabbitMQ 3.10 looks into it whenever it dead-letters a message; a list of
    anything else ends the processes that move messages for all quorum queues of
    its node, and a count that is no integer makes a message that cannot be
    delivered. Whoever may publish can write both.
    """
    return value is None or (isinstance(value, list) and all(_is_death(each) for each in value))


def _is_death(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    known = (isinstance(value.get(name), kind) for name, kind in _FIELDS.items())
    return all(known) and not isinstance(value["count"], bool)
