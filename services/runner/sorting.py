"""Tells deliveries that are to be run from those that are only to be parked or answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import states

from services.domain.outcome import Failed
from services.ledger import labels
from services.ledger.dead_canvas import generation_of
from services.ledger.message import replacements_of
from services.runner.delivery import Delivery
from services.runner.giving_up import Dropped, Forgotten, Withdrawn


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
        elif _is_forgotten(delivery, row) and delivery.outcome is None:
            delivery.outcome = Failed(Forgotten("the ledger does not know this step of a workflow"))
            # Callbacks would tell a workflow that goes on, with new steps, of a failure that it has not.
            delivery.is_alone = True
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
    """Whether the row and this message do not belong together: acking loses nothing, another is or will be sent."""
    if row["retries"] != delivery.retries:
        # Behind it only where a replay gave the step fresh retries, and this is an old copy.
        is_retried = row["retries"] > delivery.retries
        return bool(is_retried or generation_of(delivery.request) < row["generation"])
    # Its own message is still to come. Task.replace: a canvas has taken the step's place, and its last task
    # will have the step's id. Or the ledger was put back to a moment before what comes ahead of it was done.
    is_early = row["state"] == "planned"
    return bool(is_early or row["replacements"] > replacements_of(delivery.request))


def _is_forgotten(delivery: Delivery, row: dict[str, Any]) -> bool:
    """Whether a workflow's message has no row but what its delivery made: commits write the two together."""
    if row["state"] != "ready" or row["has_message"]:
        return False
    return labels.inherited(delivery.request) is not None
