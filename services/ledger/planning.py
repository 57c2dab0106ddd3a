"""Turns a canvas into planned steps with frozen ids, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, group, maybe_signature
from celery.canvas import chord as _chord

from services.ledger import labels
from services.ledger.message import Message
from services.ledger.unit import Unit


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a workflow before anything ran. `message` is there for the first steps only."""

    id: str
    task: str
    queue: str
    after: tuple[str, ...]
    position: int
    root_id: str | None = None
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All planned steps of a workflow, in the order in which they can run."""

    steps: tuple[PlannedStep, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(step.message for step in self.steps if step.message)


def plan(app: Celery, signature: Signature, label: str | None = None) -> Plan:
    """Freeze `signature` and list its steps.

    The canvas must not begin with a chord, whose header would need a join
    before the first step. Error callbacks are not planned: they appear when
    they fire. `label` is what monitors show of every step (`services.ledger.labels`).
    """
    unit = Unit(label=label)
    with unit.active():
        result = signature.apply_async()
    if unit.join_sizes:
        raise ValueError("a planned canvas begins with a task or a group, not with a chord")
    root = next((m.headers.get("root_id") for m in unit.messages), result.id)
    steps: list[PlannedStep] = []
    for message in unit.messages:
        last = _add(app, steps, message.step_id, message.task, message.queue, (), root, message)
        following = _embedded(message, "chain")
        _follow(app, steps, list(reversed(following)), last, root)
    return Plan(tuple(steps))


def unshown(plan: Plan) -> Plan:
    """The same plan for a workflow of which monitors shall hear bad news alone."""
    return Plan(
        tuple(replace(step, message=step.message and _unshown(step.message)) for step in plan.steps)
    )


def _unshown(message: Message) -> Message:
    label = labels.inherited(message.headers)
    if label is None:
        return message
    return replace(message, headers={**message.headers, labels.HEADER: labels.unshown(label)})


def _embedded(message: Message, key: str) -> list[Any]:
    return json.loads(message.body)[2].get(key) or []


def _add(  # one row's columns
    app: Celery,
    steps: list[PlannedStep],
    step_id: str,
    task: str,
    queue: str | None,
    after: tuple[str, ...],
    root: str | None,
    message: Message | None = None,
) -> tuple[str, ...]:
    queue = queue or app.amqp.router.route({}, task)["queue"].name
    steps.append(PlannedStep(step_id, task, queue, after, len(steps), root, message))
    return (step_id,)


def _follow(
    app: Celery,
    steps: list[PlannedStep],
    signatures: Sequence[Any],
    after: tuple[str, ...],
    root: str | None,
) -> tuple[str, ...]:
    for signature in signatures:
        after = _walk(app, steps, signature, after, root)
    return after


def _walk(
    app: Celery,
    steps: list[PlannedStep],
    embedded: Any,
    after: tuple[str, ...],
    root: str | None,
) -> tuple[str, ...]:
    signature: Any = maybe_signature(embedded, app=app)
    if isinstance(signature, _chain):
        return _follow(app, steps, signature.tasks, after, root)
    if isinstance(signature, group):
        ends = [_walk(app, steps, task, after, root) for task in signature.tasks]
        return tuple(step_id for end in ends for step_id in end)
    if isinstance(signature, _chord):
        header = signature.tasks
        members = header.tasks if isinstance(header, group) else header
        ends = [_walk(app, steps, task, after, root) for task in members]
        joined = tuple(step_id for end in ends for step_id in end)
        return _walk(app, steps, signature.body, joined, root)
    options = signature.options
    if options.get("expires") is not None:
        raise ValueError(
            f"{signature.task} has expires: it would stop the workflow without a word;"
            " check a deadline inside the task"
        )
    queue = options.get("queue")
    return _add(app, steps, options["task_id"], signature.task, queue, after, root)
