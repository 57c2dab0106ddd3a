"""Turns a canvas into planned steps with frozen ids, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, group, maybe_signature
from celery.canvas import chord as _chord

from services.ledger import labels
from services.ledger.message import Message
from services.ledger.shape import map_of
from services.ledger.unit import Unit


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a workflow before anything ran.

    message: of the first steps only. canvas: of a map what it does, and how often (`services.ledger.shape`).
    """

    id: str
    task: str
    queue: str
    after: tuple[str, ...]
    position: int
    root_id: str | None = None
    message: Message | None = None
    canvas: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All planned steps of a workflow, in the order in which they can run.

    join_sizes, join_headers: of chords that the canvas begins with, as `services.ledger.unit.Unit` has them.
    """

    steps: tuple[PlannedStep, ...]
    join_sizes: Mapping[str, int] = field(default_factory=dict)
    join_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(step.message for step in self.steps if step.message)


def plan(app: Celery, signature: Signature, label: str | None = None) -> Plan:
    """Freeze `signature` and list its steps.

    Error callbacks are not planned: they appear when they fire. `label` is what
    monitors show of every step (`services.ledger.labels`).
    """
    unit = Unit(label=label)
    with unit.active():
        result = signature.apply_async()
    root = next((m.headers.get("root_id") for m in unit.messages), result.id)
    steps: list[PlannedStep] = []
    ends: list[tuple[tuple[str, ...], Any]] = []
    for message in unit.messages:
        canvas = map_of(message.task, json.loads(message.body)[1])
        last = _add(steps, message.step_id, message.task, message.queue, (), root, canvas, message)
        following = _embedded(message, "chain")
        last = _follow(app, steps, list(reversed(following)), last, root)
        body = _body_of(following[0]) if following else _embedded(message, "chord")
        ends.append((last, body))
    _join(app, steps, ends, root)
    return Plan(tuple(steps), unit.join_sizes, unit.join_headers)


def unshown(plan: Plan) -> Plan:
    """The same plan for a workflow of which monitors shall hear bad news alone."""
    steps = tuple(
        replace(step, message=step.message and _unshown(step.message)) for step in plan.steps
    )
    return replace(plan, steps=steps)


def _unshown(message: Message) -> Message:
    label = labels.inherited(message.headers)
    if label is None:
        return message
    return replace(message, headers={**message.headers, labels.HEADER: labels.unshown(label)})


def _embedded(message: Message, key: str) -> list[Any]:
    return json.loads(message.body)[2].get(key) or []


def _body_of(embedded: Any) -> Any:
    """The body of the chord whose header ends in this signature; None: it ends none."""
    last = embedded
    while last["subtask_type"] == "chain" or last["options"].get("chain"):
        # What follows a signature stands in its options the other way round.
        last = (last["options"].get("chain") or last["kwargs"]["tasks"][::-1])[0]
    return last["options"].get("chord")


def _join(
    app: Celery,
    steps: list[PlannedStep],
    ends: Iterable[tuple[tuple[str, ...], Any]],
    root: str | None,
) -> None:
    """Plan the bodies of the chords that a canvas begins with, the inner ones first.

    ends: the last steps of what is sent at once, with the body that they are leaves for.
    """
    leaves: dict[str, list[str]] = {}

    def add(last: tuple[str, ...], body: Any) -> None:
        if body:
            leaves.setdefault(json.dumps(body, sort_keys=True), []).extend(last)

    for last, body in ends:
        add(last, body)
    while leaves:
        key = max(leaves, key=lambda text: _depth(json.loads(text)))
        body = json.loads(key)
        following = list(reversed(body["options"].get("chain") or []))
        last = _walk(app, steps, body, tuple(leaves.pop(key)), root)
        add(_follow(app, steps, following, last, root), _body_of(body))


def _depth(body: Any) -> int:
    outer = _body_of(body)
    return 1 + _depth(outer) if outer else 0


def _add(  # one row's columns
    steps: list[PlannedStep],
    step_id: str,
    task: str,
    queue: str,
    after: tuple[str, ...],
    root: str | None,
    canvas: str | None,
    message: Message | None = None,
) -> tuple[str, ...]:
    steps.append(PlannedStep(step_id, task, queue, after, len(steps), root, message, canvas))
    return (step_id,)


def _queue_of(app: Celery, signature: Signature) -> str:
    route = app.amqp.router.route({}, str(signature.task), kwargs=signature.kwargs)
    return str(route["queue"].name)


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
    # A map's queue is that of the task that it maps.
    queue = options.get("queue") or _queue_of(app, signature)
    canvas = map_of(signature.task, signature.kwargs)
    return _add(steps, options["task_id"], signature.task, queue, after, root, canvas)
