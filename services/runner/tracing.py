"""Runs Celery's own tracer for a step while a unit collects what it writes and sends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import time_ns
from typing import Any

import celery.app.trace
from billiard.einfo import ExceptionInfo
from celery import Celery, states
from celery.app.task import Context
from celery.app.trace import trace_task_ret
from celery.exceptions import Ignore, Reject, Retry

from services.ledger.labels import inherited, workflow_in
from services.ledger.message import abridged
from services.ledger.settle import Ran
from services.ledger.store import Execution
from services.ledger.unit import StoredResult, Unit
from services.observability.logs import concerning
from services.observability.spans import Spans
from services.runner.delivery import Delivery
from services.runner.giving_up import Untraceable, Withdrawn, reason_of, state_of

logger = logging.getLogger(__name__)

# What monitors are shown of a result: see GuardedAMQP.as_task_v2.
celery.app.trace.saferepr = lambda value, _longest: abridged(repr(value))  # type: ignore[attr-defined]  # in no stub

_TOLD_ELSEWHERE = ("done", "ignored", "replaced", "failed")
"""Outcomes that need no word, and the one that Celery logs itself, with the traceback."""


@dataclass(slots=True)
class Traced:
    """A traced step: its unit to commit, and the answer for Celery's request."""

    delivery: Delivery
    unit: Unit
    answer: tuple[int, Any, float]
    state: str
    outcome: str
    reason: str | None = None


def about(delivery: Delivery) -> dict[str, str | None]:
    """What the log says of a step wherever it is concerned."""
    return {
        "workflow": workflow_in(inherited(delivery.request)),
        "step": delivery.id,
        "task": delivery.task,
        "queue": delivery.queue,
    }


def bare(info: ExceptionInfo) -> ExceptionInfo:
    """The same info with the error itself, as Celery has it on the other side of a process border.

    billiard wraps it for that border, in a class whose name is in no stub; monitors and the log
    would show the wrapping.
    """
    wrapped: Any = info.exception
    if type(wrapped).__name__ == "ExceptionWithTraceback":
        info.exception = wrapped.exc
    return info


def error_of(traced: Traced) -> Exception:
    """Why a step has failed."""
    error: Exception = traced.answer[1].exception
    return error


def trace(app: Celery, delivery: Delivery) -> Traced:
    """Run the step's task by Celery's tracer: signals, retries, callbacks, replacement and all."""
    unit = Unit(step_id=delivery.id, label=inherited(delivery.request))
    payload = delivery.take_payload()
    if payload is None:
        body = (delivery.body, delivery.content_type, delivery.content_encoding)
    else:
        body = (payload, None, None)
    with unit.active(), concerning(about(delivery)):
        answer = trace_task_ret(delivery.task, delivery.id, delivery.request, *body, app=app)
    return _classified(delivery, unit, answer)


def fail(app: Celery, delivery: Delivery, error: Untraceable) -> Traced:
    """Fail a step without running it: errbacks, joins and the rest of the chain see the failure."""
    unit = Unit(step_id=delivery.id, label=inherited(delivery.request))
    try:
        raise error
    except Untraceable:
        info = ExceptionInfo()
    request = Context({**delivery.request, **delivery.embed()}, args=(), kwargs={})
    status = states.REVOKED if isinstance(error, Withdrawn) else states.FAILURE
    with unit.active(), concerning(about(delivery)):
        app.backend.mark_as_failure(
            delivery.id, error.for_celery(), info.traceback, request=request, state=status
        )
    return _classified(delivery, unit, (1, info, 0.0))


def ran(traced: Traced, row: dict[str, Any], host: str, started_at: datetime) -> Ran:
    """What the ledger notes of this execution."""
    began_at = traced.delivery.began_at or started_at
    return Ran(Execution(traced.state, host, began_at, traced.reason), row["workflow_id"])


def tell_log(traced: Sequence[Traced]) -> None:
    """Log each attempt that did not succeed, with its error."""
    for each in traced:
        if each.outcome not in _TOLD_ELSEWHERE:
            error = each.answer[1].exception
            # What cannot be turned into text is logging's to survive: the commit is done.
            told = ("attempt %s: %s: %s", each.outcome, type(error).__name__, error)
            logger.warning(*told, extra=about(each.delivery))


def tell_spans(spans: Spans, traced: Sequence[Traced], notes: Mapping[str, Ran]) -> None:
    """Send a span for each attempt of a workflow's step; a lone step, as of the schedule, has none."""
    now = time_ns()
    for each in traced:
        delivery, note = each.delivery, notes[each.delivery.id]
        began_at = note.execution.started_at
        if note.workflow_id is not None and began_at is not None:
            spans.ended(
                note.workflow_id,
                delivery.id,
                delivery.request.get("parent_id"),
                delivery.task,
                delivery.queue,
                each.outcome,
                began_at,
                now,
                each.reason,
            )


def _classified(delivery: Delivery, unit: Unit, answer: tuple[int, Any, float]) -> Traced:
    failed, value, seconds = answer
    if not failed:
        _note(delivery, unit, states.SUCCESS)
        # What Celery has measured is what came after the handler's call.
        answer = (failed, value, delivery.run_seconds + seconds)
        return Traced(delivery, unit, answer, "done", "done")
    error: Any = bare(value).exception
    if isinstance(error, (Ignore, Reject, Retry)):
        return _without_an_end(delivery, unit, answer, error)
    _note(delivery, unit, states.FAILURE)
    state = state_of(error)
    return Traced(delivery, unit, answer, state, state, reason_of(error))


def _without_an_end(
    delivery: Delivery, unit: Unit, answer: tuple[int, Any, float], error: Exception
) -> Traced:
    """What Celery's control-flow exceptions mean: none of them is a result."""
    if isinstance(error, Retry):
        return Traced(delivery, unit, answer, "ready", "retried")
    if isinstance(error, Reject):
        if getattr(error, "requeue", False):
            return Traced(delivery, unit, answer, "ready", "requeued")
        return Traced(delivery, unit, answer, "dead", "rejected", reason_of(error))
    if any(message.step_id == delivery.id for message in unit.messages):
        # Task.replace by a task, which goes on under this step's id.
        return Traced(delivery, unit, answer, "ready", "replaced")
    if unit.is_replaced:
        # Task.replace by a canvas, whose last task has this step's id.
        _note(delivery, unit, states.PENDING)
        return Traced(delivery, unit, answer, "planned", "replaced")
    _note(delivery, unit, states.IGNORED)
    return Traced(delivery, unit, answer, "done", "ignored")


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
