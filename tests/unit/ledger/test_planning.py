"""The login workflow as planned steps: frozen ids, edges, and the first message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord, group
from celery.app.trace import build_tracer

from routing.load import load
from services.canvas.digesting import digesting
from services.canvas.erasing import erasing
from services.canvas.importing import importing
from services.canvas.lockdown import lockdown, undoing
from services.canvas.login import login_workflow
from services.celery_app import DoorbellApp, make_app
from services.domain.incident import portions
from services.domain.slices import Slice, partitions_of, slices_of
from services.ledger.labels import label_of
from services.ledger.plan_template import PlanTemplate
from services.ledger.planning import Plan, plan
from services.ledger.unit import Unit
from services.settings import Settings

WORKFLOW = UUID(int=7)


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())

    @made.task(name="hand.step", shared=False)
    def step(*values: object) -> object:
        return values[0] if values else None

    yield made
    made.close()


def by_task(planned: Plan) -> dict[str, Any]:
    return {step.task: step for step in planned.steps}


def test_the_login_workflow(app: DoorbellApp) -> None:
    """Five steps in the order in which they can run, each behind what it needs."""
    planned = plan(app, login_workflow(app, WORKFLOW))
    names = {step.id: step.task for step in planned.steps}

    assert [(s.task, s.queue, sorted(names[i] for i in s.after)) for s in planned.steps] == [
        ("device_checks.check_device", "device_checks", []),
        ("notifications.notify_user", "notifications", ["device_checks.check_device"]),
        ("db_writes.save_event", "db_writes", ["device_checks.check_device"]),
        (
            "external_api.score_login",
            "external_api",
            ["db_writes.save_event", "notifications.notify_user"],
        ),
        ("db_writes.apply_verdict", "db_writes", ["external_api.score_login"]),
    ]
    assert [step.position for step in planned.steps] == [0, 1, 2, 3, 4]
    assert len(names) == 5


def test_only_the_first_step_has_its_message(app: DoorbellApp) -> None:
    """It is also every step's root, as Celery will say."""
    planned = plan(app, login_workflow(app, WORKFLOW))
    first, *others = planned.steps

    assert planned.messages == (first.message,)
    assert all(step.message is None for step in others)
    assert {step.root_id for step in planned.steps} == {first.id}
    assert json.loads(planned.messages[0].body)[0] == [str(WORKFLOW)]


def test_two_workflows_share_no_id(app: DoorbellApp) -> None:
    """Each plan freezes ids of its own."""
    one, other = (plan(app, login_workflow(app, uuid4())) for _ in range(2))
    assert not {step.id for step in one.steps} & {step.id for step in other.steps}


def test_what_celery_sends_next_has_the_planned_ids(app: DoorbellApp) -> None:
    """Traced without a broker, the first step sends the group under the ids that were planned."""
    label = label_of(WORKFLOW, "0123456789abcdef")
    planned = plan(app, login_workflow(app, WORKFLOW), label)
    message = planned.messages[0]
    assert message.headers["kwargsrepr"] == label
    args, kwargs, embedded = json.loads(message.body)
    tracer = build_tracer("hand.step", app.tasks["hand.step"], app=app)
    request = {**message.headers, **embedded, "args": args, "kwargs": kwargs}
    unit = Unit(message.step_id)
    with unit.active():
        tracer(message.step_id, args, kwargs, request)

    steps = by_task(planned)
    members = ("notifications.notify_user", "db_writes.save_event")
    assert {m.task: m.step_id for m in unit.messages} == {name: steps[name].id for name in members}
    body = json.loads(unit.messages[0].body)[2]["chord"]
    assert body["options"]["task_id"] == steps["external_api.score_login"].id
    rest = [step["options"]["task_id"] for step in body["options"].get("chain") or []]
    assert rest == [steps["db_writes.apply_verdict"].id] or body["options"].get("link")


def test_a_group_at_the_beginning(app: DoorbellApp) -> None:
    """Each member is a first step with its message."""

    def step() -> Any:
        return app.signature("hand.step", queue="db_writes")

    planned = plan(app, group(step(), chain(step(), step(), app=app), app=app))
    assert [len(s.after) for s in planned.steps] == [0, 0, 1]
    assert len(planned.messages) == 2


def test_a_chord_at_the_beginning(app: DoorbellApp) -> None:
    """Its header's members are first steps, its body joins their ends, and the join is known beforehand."""

    def step() -> Any:
        return app.signature("hand.step", queue="db_writes")

    planned = plan(app, chord([step(), chain(step(), step(), app=app)], step(), app=app))
    one, first, second, body = planned.steps
    assert [s.after for s in planned.steps] == [(), (), (first.id,), (one.id, second.id)]
    assert planned.messages == (one.message, first.message)
    assert body.message is None
    assert [*planned.join_sizes.values()] == [2]


def test_an_erasure(app: DoorbellApp) -> None:
    """One place after the other; no step needs another's result, and each message names the erasure alone."""
    erasure_id = uuid4()
    planned = plan(app, erasing(app, erasure_id)).steps
    assert [step.after for step in planned] == [(), *((step.id,) for step in planned[:-1])]
    assert [step.task for step in planned][-1] == "maintenance.certify_erasure"
    first = json.loads(planned[0].message.body if planned[0].message else "")
    rest = [(each["immutable"], each["args"]) for each in first[2]["chain"]]
    assert first[0] == [{"erasure_id": str(erasure_id)}]
    assert rest == [(True, first[0])] * (len(planned) - 1)


@pytest.mark.parametrize("devices", [0, 1, 3])
def test_a_digest_joins_all_devices(app: DoorbellApp, devices: int) -> None:
    """However few they are: the body is given a list, of ids and places alone."""
    workflow_id = UUID(int=8)
    planned = plan(app, digesting(app, workflow_id, devices))
    *parts, body = planned.steps
    assert [step.task for step in parts] == [
        *["maintenance.digest_device"] * devices,
        "maintenance.digest_others",
    ]
    assert (body.task, {*body.after}) == (
        "notifications.record_digest",
        {step.id for step in parts},
    )
    arguments = [json.loads(step.message.body)[0] for step in parts if step.message]
    whose = {"workflow_id": str(workflow_id)}
    assert arguments == [*([{**whose, "position": n}] for n in range(devices)), [whose]]


def test_a_chord_in_a_chords_header(app: DoorbellApp) -> None:
    """The outer body joins the inner one, and what follows stands behind it."""

    def step() -> Any:
        return app.signature("hand.step", queue="db_writes")

    inner = chord([step(), step()], step(), app=app)
    outer = chord([inner, step()], step(), app=app)
    planned = plan(app, chain(outer, step(), app=app))
    after = {s.id: set(s.after) for s in planned.steps}
    leaves = [s.id for s in planned.steps if not s.after]
    assert len(planned.steps) == 6
    assert len(leaves) == 3
    [inner_body] = [key for key, before in after.items() if len(before & set(leaves)) == 2]
    [outer_body] = [key for key, before in after.items() if inner_body in before]
    assert len(after[outer_body]) == 2
    assert [key for key, before in after.items() if before == {outer_body}]
    assert sorted(planned.join_sizes.values()) == [2, 2]


def test_a_template_begins_with_a_step(app: DoorbellApp) -> None:
    """A join has ids that a template does not fill in."""
    header = [app.signature("hand.step", queue="db_writes") for _ in range(2)]
    body = app.signature("hand.step", queue="db_writes")
    with pytest.raises(ValueError, match="begins with a chord"):
        PlanTemplate(app, lambda _: chord(header, body, app=app))


def test_groups_in_groups(app: DoorbellApp) -> None:
    """What follows a nested group waits for all of its leaves."""

    def step() -> Any:
        return app.signature("hand.step", queue="db_writes")

    inner = group(step(), step(), app=app)
    canvas = chain(step(), group(inner, step(), app=app), step(), app=app)
    planned = plan(app, canvas)

    assert len(planned.steps) == 5
    first, *leaves, last = planned.steps
    assert {leaf.after for leaf in leaves} == {(first.id,)}
    assert set(last.after) == {leaf.id for leaf in leaves}


def test_a_lockdown_is_a_map_for_each_portion_with_its_notices_behind(app: DoorbellApp) -> None:
    """No portion waits for another; one that is to come later is delayed at the broker."""
    planned = plan(app, lockdown(app, portions(WORKFLOW, 120, 60)))
    names = {step.id: step.task for step in planned.steps}
    assert [(s.task, s.queue, [names[i] for i in s.after]) for s in planned.steps] == [
        ("celery.map", "maintenance", []),
        ("notifications.notify_switched", "notifications", ["celery.map"]),
    ] * 2
    sent = [step.message for step in planned.steps if step.message]
    assert [message.delay_seconds for message in sent] == [0, 1]
    for message, firsts in zip(sent, ([0, 25, 50], [60, 85, 110]), strict=True):
        kwargs = json.loads(message.body)[1]
        assert kwargs["task"]["task"] == "maintenance.switch_users"
        assert [each["first"] for each in kwargs["it"]] == firsts


def test_a_lockdowns_notices_wait_in_another_queue(app: DoorbellApp) -> None:
    """They alone: its switches do not, and what was planned before is as it was."""
    before = plan(app, lockdown(app, portions(WORKFLOW, 120)))
    planned = plan(app, lockdown(app, portions(WORKFLOW, 120), "bulk_notices"))
    after = plan(app, lockdown(app, portions(WORKFLOW, 120)))
    assert [(s.task, s.queue) for s in planned.steps] == [
        ("celery.map", "maintenance"),
        ("notifications.notify_switched", "bulk_notices"),
    ] * 2
    for message, first in zip(planned.messages, (0, 100), strict=True):
        (notices,) = json.loads(message.body)[2]["chain"]
        assert (notices["immutable"], notices["options"]["queue"]) == (True, "bulk_notices")
        assert [each["first"] for each in notices["args"]] == [first]
    queues = [[step.queue for step in it.steps] for it in (before, after)]
    assert queues == [["maintenance", "notifications"] * 2] * 2


def test_an_undo_is_a_map_for_each_portion(app: DoorbellApp) -> None:
    """Over all positions, and nothing behind it."""
    planned = plan(app, undoing(app, portions(WORKFLOW, 101)))
    assert [(s.task, s.queue, s.after) for s in planned.steps] == [
        ("celery.map", "maintenance", ())
    ] * 2
    assert len({step.id for step in planned.steps}) == 2


def test_an_import(app: DoorbellApp) -> None:
    """Partitions are chains of starmaps, planned for the queue of the task that they map; the body joins their ends."""
    partitions = partitions_of(slices_of(dict.fromkeys(range(-2048, 2048), 200)))
    planned = plan(app, importing(app, WORKFLOW, partitions))
    assert len(partitions) > 10
    tasks = {s.id: s.task for s in planned.steps}
    queues = {s.task: s.queue for s in planned.steps}
    assert queues == {
        "celery.starmap": "imports",
        "external_api.learn_slices": "external_api",
        "imports.sum_up": "imports",
    }
    *steps, body = planned.steps
    assert len(steps) == 2 * sum(len(starmaps) for starmaps in partitions)
    assert [tasks[each] for each in body.after] == ["external_api.learn_slices"] * len(partitions)
    firsts = [step for step in steps if not step.after]
    assert len(firsts) == len(partitions)
    assert max(len(step.message.body) for step in firsts if step.message) < 60_000
    maps = [json.loads(step.canvas or "{}") for step in steps if step.task == "celery.starmap"]
    assert {each["maps"] for each in maps} == {"imports.apply_slice"}
    assert [each["items"] for each in maps] == [len(it) for each in partitions for it in each]
    assert {step.canvas for step in planned.steps if step.task != "celery.starmap"} == {None}


def test_the_longest_partition_fits_in_a_message(app: DoorbellApp) -> None:
    """As many logins of one user as can be planned."""
    partitions = partitions_of([Slice(-2048, -2048)] * 320)
    planned = plan(app, importing(app, WORKFLOW, partitions))
    [first] = [step.message for step in planned.steps if step.message]
    assert len(first.body) < 60_000
