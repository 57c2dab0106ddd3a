"""Runs Celery's own tracer for a step while a unit collects what it writes and sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Celery, states
from celery.app.task import Context
from celery.app.trace import trace_task_ret
from celery.exceptions import Ignore, Reject, Retry

from services.domain.errors import Refused
from services.ledger.settle import Ran
from services.ledger.store import Execution
from services.ledger.unit import StoredResult, Unit
from services.runner.delivery import Delivery


@dataclass(slots=True)
class Traced:
    """A traced step: its unit to commit, and the answer for Celery's request."""

    delivery: Delivery
    unit: Unit
    answer: tuple[int, Any, float]
    state: str
    outcome: str


def trace(app: Celery, delivery: Delivery) -> Traced:
    """Run the step's task by Celery's tracer: signals, retries, callbacks, replacement and all."""
    unit = Unit(step_id=delivery.id)
    with unit.active():
        answer = trace_task_ret(
            delivery.task,
            delivery.id,
            delivery.request,
            delivery.body,
            delivery.content_type,
            delivery.content_encoding,
            app=app,
        )
    return _classified(delivery, unit, answer)


def fail(app: Celery, delivery: Delivery, error: Exception) -> Traced:
    """Fail a step without running it: errbacks, joins and the rest of the chain see the failure."""
    unit = Unit(step_id=delivery.id)
    try:
        raise error
    except Exception:  # noqa: BLE001  # raised one line above, for its traceback
        info = ExceptionInfo()
    request = Context(delivery.request, args=(), kwargs={})
    with unit.active():
        app.backend.mark_as_failure(delivery.id, error, info.traceback, request=request)
    return _classified(delivery, unit, (1, info, 0.0))


def ran(traced: Traced, row: dict[str, Any], host: str, started_at: datetime) -> Ran:
    """What the ledger notes of this execution."""
    return Ran(
        Execution(traced.state, host, traced.delivery.began_at or started_at), row["workflow_id"]
    )


def _classified(delivery: Delivery, unit: Unit, answer: tuple[int, Any, float]) -> Traced:
    failed, value, _ = answer
    if not failed:
        _note(delivery, unit, states.SUCCESS)
        return Traced(delivery, unit, answer, "done", "done")
    error = value.exception
    # billiard wraps what crosses a process border: its name is in no stub.
    if type(error).__name__ == "ExceptionWithTraceback":
        error = error.exc
    if isinstance(error, Retry):
        return Traced(delivery, unit, answer, "ready", "retried")
    if isinstance(error, (Ignore, Reject)):
        return Traced(delivery, unit, answer, "ready", type(error).__name__.lower())
    _note(delivery, unit, states.FAILURE)
    state = "failed" if isinstance(error, Refused) else "dead"
    return Traced(delivery, unit, answer, state, state)


def _note(delivery: Delivery, unit: Unit, status: str) -> None:
    # With ignore_result Celery stores nothing, but the ledger must know that the step ended.
    if delivery.id in unit.results:
        return
    request = delivery.request
    unit.results[delivery.id] = StoredResult(
        delivery.id,
        status,
        None,
        None,
        None,
        delivery.task,
        request.get("root_id"),
        request.get("parent_id"),
        delivery.retries,
    )
