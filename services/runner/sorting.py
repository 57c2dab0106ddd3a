"""Tells deliveries that are to be run from those that are only to be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import states

from services.domain.outcome import Failed
from services.runner.delivery import Delivery
from services.runner.giving_up import Withdrawn


@dataclass(slots=True)
class Sorted:
    """Deliveries by what their rows say: to run, or only to answer for."""

    run: list[Delivery] = field(default_factory=list)
    settled: list[tuple[Delivery, str]] = field(default_factory=list)


def sort_deliveries(deliveries: Sequence[Delivery], rows: dict[str, dict[str, Any]]) -> Sorted:
    sorted_ = Sorted()
    for delivery in deliveries:
        row = rows[delivery.id]
        if row["status"] == states.REVOKED and delivery.outcome is None:
            delivery.outcome = Failed(Withdrawn("revoked"))
        # The row is ahead of its message when a retry was committed before the ack.
        is_stale = row["retries"] > delivery.retries
        if row["state"] in ("done", "failed", "dead") or is_stale:
            sorted_.settled.append((delivery, "stale" if is_stale else row["state"]))
        else:
            sorted_.run.append(delivery)
    return sorted_
