"""Keeps what the error callbacks of a workflow saw."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.outcome import Done, Outcome
from services.handlers.ports import Transaction
from services.handlers.records import FailedStep


def note_failed(failures: Sequence[FailedStep], tx: Transaction) -> Sequence[Outcome]:
    """Keep each failure once a level, step and generation of its workflow: a replay begins another."""
    tx.note_failed(failures)
    return [
        Done({"workflow_id": str(f.workflow_id), "level": f.level, "step_id": f.step_id})
        for f in failures
    ]
