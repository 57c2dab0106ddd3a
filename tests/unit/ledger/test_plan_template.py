"""Plans from a template: Celery's own but for the ids, which are new each time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from random import random
from uuid import UUID, uuid4

import pytest
from celery import chain, group
from celery.canvas import Signature

from routing.load import load
from services.canvas.login import login_workflow
from services.celery_app import DoorbellApp, make_app
from services.ledger.labels import label_of
from services.ledger.plan_template import PlanTemplate
from services.ledger.planning import Plan, plan
from services.settings import Settings

WORKFLOW = UUID("01234567-89ab-7cde-8f01-23456789abcd")
LABEL = label_of(WORKFLOW, "0123456789abcdef")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


def ids_of(planned: Plan) -> set[str]:
    return set(_ID.findall(json.dumps([asdict(step) for step in planned.steps])))


def numbered(planned: Plan) -> str:
    """A plan as text, with its ids numbered as they come; the workflow's own stays."""
    numbers: dict[str, str] = {str(WORKFLOW): str(WORKFLOW)}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"id {len(numbers)}")

    return _ID.sub(number, json.dumps([asdict(step) for step in planned.steps]))


def test_it_is_what_celery_makes(app: DoorbellApp) -> None:
    """Every header, argument, callback and edge, each id in all of its places."""
    canvas = partial(login_workflow, app)
    made = PlanTemplate(app, canvas).plan(WORKFLOW, LABEL)
    celerys = plan(app, canvas(WORKFLOW), LABEL)

    assert numbered(made) == numbered(celerys)
    assert LABEL in numbered(made)


def test_ids_are_new_each_time(app: DoorbellApp) -> None:
    """No step, group or message of one plan is that of another."""
    template = PlanTemplate(app, partial(login_workflow, app))
    one, other = (template.plan(uuid4(), "") for _ in range(2))

    # Where Celery would have answers sent is the application's.
    assert ids_of(one) & ids_of(other) <= {one.messages[0].properties["reply_to"]}
    assert len(ids_of(one)) > len(one.steps)


def test_a_plan_holds_together(app: DoorbellApp) -> None:
    """Steps name each other, and the message names its step."""
    steps = PlanTemplate(app, partial(login_workflow, app)).plan(WORKFLOW, LABEL).steps
    ids = {step.id for step in steps}
    assert len(ids) == 5
    assert {each for step in steps for each in step.after} <= ids
    message = steps[0].message
    assert message is not None
    assert message.step_id == message.headers["id"] == steps[0].id == steps[0].root_id


def test_a_label_may_hold_what_json_escapes(app: DoorbellApp) -> None:
    """It arrives as it was given."""
    label = 'a "quoted" \\ label \u2028'
    message = PlanTemplate(app, partial(login_workflow, app)).plan(WORKFLOW, label).messages[0]
    assert message.headers["kwargsrepr"] == label


def test_a_canvas_that_is_not_the_same_each_time_is_refused(app: DoorbellApp) -> None:
    """A template of it would say of each workflow what was true of the first."""

    def canvas(workflow_id: UUID) -> Signature:
        return app.signature("hand.step", args=(str(workflow_id), random()), queue="db_writes")

    with pytest.raises(ValueError, match="differ in more than ids"):
        PlanTemplate(app, canvas)


def test_ids_that_change_places_are_refused(app: DoorbellApp) -> None:
    """Of two plans, an id that stands twice in one and once in the other cannot be told."""
    turns = iter([True, False])

    def canvas(workflow_id: UUID) -> Signature:
        other = workflow_id if next(turns) else uuid4()
        return app.signature("hand.step", args=(str(workflow_id), str(other)), queue="db_writes")

    with pytest.raises(ValueError, match="different places"):
        PlanTemplate(app, canvas)


def test_ids_that_stand_for_something_stay(app: DoorbellApp) -> None:
    """An id that is the same in each workflow is none of its own."""
    fixed = str(uuid4())

    def canvas(workflow_id: UUID) -> Signature:
        def step(*values: str) -> Signature:
            return app.signature("hand.step", args=values, queue="db_writes")

        return chain(step(str(workflow_id), fixed), group(step(fixed), step()), app=app)

    (message,) = PlanTemplate(app, canvas).plan(WORKFLOW, LABEL).messages
    assert json.loads(message.body)[0] == [str(WORKFLOW), fixed]
