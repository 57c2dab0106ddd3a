"""Plans of one canvas for many workflows: Celery is asked once, and each further plan only has ids of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from celery.canvas import Signature

from services.ledger.id_template import Differs, Ids, IdTemplate
from services.ledger.message import Message
from services.ledger.planning import Plan, PlannedStep, plan


class PlanTemplate:
    """What `plan` makes of a workflow's canvas, without making the canvas; threads may share it.

    A plan and its messages are what Celery makes of the canvas, character for character, but for the
    ids: the workflow's and those of its steps and groups. Which these are is found by
    comparing two plans.

    Raises:
        ValueError: two plans of the canvas differ in more than ids, such as a time or a random argument.
        TypeError: a header is no JSON.
    """

    def __init__(self, app: Celery, make_canvas: Callable[[UUID], Signature]) -> None:
        """make_canvas: of a workflow's id."""

        def sample() -> tuple[str, list[str]]:
            workflow_id, label = uuid4(), str(uuid4())
            made = plan(app, make_canvas(workflow_id), label)
            return _to_text(made), [str(workflow_id), label]

        (one, ones), (other, others) = sample(), sample()
        ids = Ids(zip(ones, others, strict=True))
        try:
            self._text = IdTemplate.of(one, other, ids)
            self._fresh = ids.fresh
        except Differs as error:
            raise ValueError(f"two plans of the canvas {error}") from None

    def plan(self, workflow_id: UUID, label: str) -> Plan:
        """As `services.ledger.planning.plan`, under new ids."""
        values = [
            str(workflow_id),
            json.dumps(label)[1:-1],
            *(str(uuid4()) for _ in range(self._fresh)),
        ]
        return _from_text(self._text.fill(values))


def _to_text(made: Plan) -> str:
    if made.join_sizes:
        raise ValueError("the canvas begins with a chord, whose join is no part of a template")
    return json.dumps([asdict(step) for step in made.steps])


def _from_text(text: str) -> Plan:
    def step(message: dict[str, Any] | None, after: list[str], **columns: Any) -> PlannedStep:
        first = Message.from_json(message) if message else None
        return PlannedStep(after=tuple(after), message=first, **columns)

    return Plan(tuple(step(**columns) for columns in json.loads(text)))
