"""The floor moves the messages of the product's own plan: the same steps, in the same order, of the same size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from routing.load import load
from services.canvas.delivery import delivery
from services.canvas.login import login_workflow
from services.celery_app import DoorbellApp, make_app
from services.ledger.labels import label_of
from services.ledger.message import Message
from services.ledger.planning import plan
from services.ledger.unit import Unit
from services.settings import Settings
from tests.bench.floor_steps import Ended, Incoming, body_of, ended

WORKFLOW = UUID(int=7)
RESULT = {"workflow_id": str(WORKFLOW)}


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


def _delivered(message: Message) -> Incoming:
    return Incoming.read(1, dict(message.headers), dict(message.properties), message.body)


def _end(message: Message) -> Ended:
    return ended(_delivered(message), RESULT)


def test_the_main_workflow_has_the_plan_s_steps(app: DoorbellApp) -> None:
    """Under their frozen ids, to their queues, with the results of what comes before."""
    planned = plan(app, login_workflow(app, WORKFLOW), label_of(WORKFLOW, "0123456789abcdef"))
    check, notify, save, score, apply = planned.steps
    first = _end(planned.messages[0])
    assert [(it.step_id, it.queue) for it in first.messages] == [
        (step.id, step.queue) for step in (notify, save)
    ]
    leaves = [_end(message) for message in first.messages]
    assert [leaf.messages for leaf in leaves] == [[], []]
    assert {leaf.part.join_id for leaf in leaves if leaf.part} == {first.join_id}

    body = body_of(leaves[1], [RESULT, RESULT])
    assert (body.step_id, body.queue) == (score.id, "external_api")
    assert json.loads(body.body)[0] == [[RESULT, RESULT]]
    [last] = _end(body).messages
    assert (last.step_id, last.headers["parent_id"]) == (apply.id, score.id)
    end = _end(last)
    assert (end.messages, end.part, end.is_last) == ([], None, True)
    assert first.of.id == check.id


def test_a_notice_is_delivered_as_the_canvas_says(app: DoorbellApp) -> None:
    """With its receipt behind it; body and header say what Celery's would."""
    unit = Unit()
    with unit.active():
        delivery(app, "a-notice").apply_async()
    planned = plan(app, login_workflow(app, WORKFLOW))
    [made] = [
        it
        for it in ended(_delivered(planned.messages[0]), RESULT, ["a-notice"]).messages
        if it.task == "notifications.deliver_notice"
    ]
    assert json.loads(made.body) == json.loads(unit.messages[0].body)
    [receipt] = _end(made).messages
    assert (receipt.task, json.loads(receipt.body)[0]) == ("notifications.record_receipt", [RESULT])


def test_its_messages_are_as_large_as_the_product_s(app: DoorbellApp) -> None:
    """What a header or body lacks would make the floor look lower than it is."""
    unit = Unit()
    with unit.active():
        delivery(app, "a-notice").apply_async()
    theirs: Any = unit.messages[0].headers
    ours = ended(_delivered(plan(app, login_workflow(app, WORKFLOW)).messages[0]), RESULT, ["n"])
    assert set(ours.messages[0].headers) == set(theirs)
