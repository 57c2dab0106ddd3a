"""Tells deliveries that are to be run from those that are only to be parked or answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import states

from services.domain.outcome import Failed
from services.ledger.dead_canvas import generation_of
from services.ledger.message import replacements_of
from services.runner.delivery import Delivery
from services.runner.giving_up import Dropped, Withdrawn


@dataclass(slots=True)
class Sorted:
    """Deliveries by what their rows say: to run, to park until their task may go on, or only to answer for."""

    run: list[Delivery] = field(default_factory=list)
    settled: list[tuple[Delivery, str]] = field(default_factory=list)
    parked: list[Delivery] = field(default_factory=list)


def sort_deliveries(deliveries: Sequence[Delivery], rows: dict[str, dict[str, Any]]) -> Sorted:
    sorted_ = Sorted()
    for delivery in deliveries:
        row = rows[delivery.id]
        if row["status"] == states.REVOKED and delivery.outcome is None:
            delivery.outcome = Failed(Withdrawn("revoked"))
        is_stale = _is_stale(delivery, row)
        if row["state"] in ("done", "failed", "dead") or is_stale:
            sorted_.settled.append((delivery, "stale" if is_stale else row["state"]))
        elif delivery.outcome is None and (
            row["pause"] == "defer" or (delivery.is_permitted is False and not row["pause"])
        ):
            sorted_.parked.append(delivery)
        else:
            if row["pause"] and delivery.outcome is None:
                delivery.outcome = Failed(Dropped("its task is paused, and its steps are not kept"))
            sorted_.run.append(delivery)
    return sorted_


def _is_stale(delivery: Delivery, row: dict[str, Any]) -> bool:
    """Whether the row is ahead of this message: what the message asks for was committed before its ack."""
    if row["retries"] != delivery.retries:
        # Behind it only where a replay gave the step fresh retries, and this is an old copy.
        is_retried = row["retries"] > delivery.retries
        return bool(is_retried or generation_of(delivery.request) < row["generation"])
    # Task.replace: a canvas has taken the step's place, and its last task will have the step's id.
    is_replaced = row["state"] == "planned" and row["attempts"] > 0
    return bool(is_replaced or row["replacements"] > replacements_of(delivery.request))
