"""Celery's primitives one by one, as its documentation teaches them, through workers of both styles.

tests/e2e/README.md lists every primitive with its test and its job in Doorbell.
"""

from __future__ import annotations

from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group
from celery.result import GroupResult

from tests.integration.canvas.conftest import Workshop
from tests.support.fleet import wait_until
from tests.support.rabbitmq import PrivateRabbitMQ

SECONDS = 30
_QUIET = "notifications"
"""A queue that both workers' broker users may send to, and that nobody consumes here."""


@pytest.fixture(autouse=True)
def _nothing_seen(ours: Workshop) -> None:
    ours.forget()


def test_a_signature_by_name(ours: Workshop) -> None:
    """Its name is all that a producer has to know of a task."""
    by_name = ours.app.signature("hand.add", args=(2, 3))

    assert by_name.delay().get(timeout=SECONDS) == 5
    assert ours.app.send_task("hand.add", (2, 3)).get(timeout=SECONDS) == 5


def test_a_signature_from_its_task(ours: Workshop) -> None:
    """It is the same value as one by name, and is called, delayed and applied alike."""
    from_task = ours.add.signature((2, 3))

    assert from_task == ours.add.s(2, 3) == ours.app.signature("hand.add", args=(2, 3))
    assert from_task() == 5
    assert from_task.delay().get(timeout=SECONDS) == 5


def test_arguments_by_place_and_by_name(ours: Workshop) -> None:
    """What is given when it is sent comes in front of what it has, and names go over names."""
    by_name = ours.add.signature(args=(2,), kwargs={"y": 3})
    partial = ours.add.s(y=100)

    assert by_name.delay().get(timeout=SECONDS) == 5
    assert partial.apply_async((2,), {"y": 3}).get(timeout=SECONDS) == 5


def test_options_go_with_a_signature(ours: Workshop) -> None:
    """An id and a delay of its own, which the worker keeps to."""
    wanted = str(uuid4())
    began = monotonic()
    sent = ours.add.signature((2, 3), task_id=wanted, countdown=1).apply_async()

    assert sent.id == wanted
    assert sent.get(timeout=SECONDS) == 5
    assert monotonic() - began >= 1


def test_options_are_set_later(ours: Workshop) -> None:
    """`set` changes the signature itself, and what is said on sending goes over it."""
    first, second = str(uuid4()), str(uuid4())
    signature = ours.add.s(2, 3)

    assert signature.set(task_id=first) is signature
    assert signature.apply_async(task_id=second).id == second
    assert signature.apply_async().id == first
    for task_id in (first, second):
        assert ours.app.AsyncResult(task_id).get(timeout=SECONDS) == 5


def test_a_clone_is_changed_and_its_original_is_not(ours: Workshop) -> None:
    """Other arguments and options for one more; both run."""
    original = ours.add.s(2).set(countdown=1)
    wanted = str(uuid4())
    copy = original.clone(args=(10,)).set(task_id=wanted, countdown=None)

    assert (original.args, original.options) == ((2,), {"countdown": 1})
    assert copy.apply_async().id == wanted
    assert ours.app.AsyncResult(wanted).get(timeout=SECONDS) == 12
    assert original.apply_async((1,)).get(timeout=SECONDS) == 3


def test_a_clone_waits_in_another_queue_and_its_original_does_not(
    ours: Workshop, node: PrivateRabbitMQ
) -> None:
    """Where nobody does the work, it stays."""
    original = ours.add.s(2, 3).set(immutable=True)
    elsewhere = original.clone().set(queue=_QUIET)

    assert elsewhere.apply_async().state == "PENDING"
    assert "queue" not in original.options
    assert original.apply_async().get(timeout=SECONDS) == 5
    assert node.peek(_QUIET, "doorbell") == (1, 0)
    node.manage("DELETE", f"queues/doorbell/{_QUIET}/contents")


def test_an_immutable_signature_takes_no_result(ours: Workshop) -> None:
    """`s` gets the result of the step before it, `si` what it was made with."""
    mutable = chain(ours.add.s(1, 1), ours.add.s(10)).apply_async()
    immutable = chain(ours.add.s(1, 1), ours.add.si(10, 10)).apply_async()

    assert mutable.get(timeout=SECONDS) == 12
    assert immutable.get(timeout=SECONDS) == 20


def test_a_callback_gets_the_result(ours: Workshop) -> None:
    """Each `link` is called once; one that is immutable gets what it was made with."""
    step = ours.add.s(2, 3)
    step.link(ours.on_done.s())
    step.link(ours.on_done.si("linked"))

    assert step.apply_async().get(timeout=SECONDS) == 5
    wait_until(lambda: ours.seen("done 5") and ours.seen("done linked"), SECONDS)
    assert (ours.seen("done"), ours.seen("error")) == (2, 0)


def test_an_error_callback_is_called_instead(ours: Workshop) -> None:
    """`link_error` when the step has failed, and then no `link`."""
    step = ours.fail.s()
    step.link(ours.on_done.s())
    step.link_error(ours.on_error.s("linked"))

    with pytest.raises(ValueError, match="as asked"):
        step.apply_async().get(timeout=SECONDS)
    wait_until(lambda: ours.seen("error linked"), SECONDS)
    assert (ours.seen("error"), ours.seen("done")) == (1, 0)


def test_a_chain_by_its_name_and_by_the_pipe(ours: Workshop) -> None:
    """Each step gets the result of the one before."""
    by_name = chain(ours.add.s(1, 1), ours.add.s(2), ours.add.s(3))
    piped = ours.add.s(1, 1) | ours.add.s(2) | ours.add.s(3)

    assert [it().get(timeout=SECONDS) for it in (by_name, piped)] == [7, 7]


def test_a_group_keeps_the_order_of_its_members(ours: Workshop) -> None:
    """Whichever ends first; what it is called with comes in front of each member's own."""
    sent = group(ours.add.s(i) for i in range(4))(10)

    assert sent.get(timeout=SECONDS) == [10, 11, 12, 13]


def test_a_chord_both_ways(ours: Workshop) -> None:
    """Called with its body, and as a group with something behind it: the body runs once, with all results."""
    header = [ours.add.s(i, i) for i in range(3)]
    called = chord(header, app=ours.app)(ours.nested.s())
    upgraded = (group(header) | ours.nested.s())()

    assert [it.get(timeout=SECONDS) for it in (called, upgraded)] == [[0, 2, 4]] * 2
    assert ours.seen("nested") == 2


def test_a_retry_in_the_task_and_one_by_itself(ours: Workshop) -> None:
    """`self.retry`, and an error that the task declares: the same step comes back and ends once."""
    in_task, by_itself = ours.come_back.delay(5, 1), ours.come_back_by_itself.delay(6)

    assert (in_task.get(timeout=SECONDS), by_itself.get(timeout=SECONDS)) == (5, 6)
    for name, value in (("come_back", 5), ("come_back_by_itself", 6)):
        attempts = [ours.seen(f"{name} {value} {number}") for number in range(3)]
        assert attempts == [1, 1, 0]


def _levels(w: Workshop) -> dict[str, tuple[Any, int]]:
    """For each level, a canvas with a callback there, and how often that is to fire."""
    of_group = group(w.fail.s(), w.fail.s(), w.add.s(1, 1), app=w.app)
    of_group.link_error(w.on_error.s("group"))
    of_chain = chain(w.add.s(1, 1), w.fail.s(), w.add.s(1), w.add.s(2), app=w.app)
    of_chain.link_error(w.on_error.s("chain"))
    return {
        "task": (w.fail.s().on_error(w.on_error.s("task")), 1),
        "member": (group(w.fail.s().on_error(w.on_error.s("member")), w.fail.s(), app=w.app), 1),
        "group": (of_group, 2),
        "chain": (of_chain, 1),
    }


@pytest.mark.parametrize("level", ["task", "member", "group", "chain"])
def test_an_error_callback_fires_at_its_level(ours: Workshop, level: str) -> None:
    """A task's and a member's for it alone, a group's for each member that failed, a chain's once."""
    canvas, times = _levels(ours)[level]
    canvas.apply_async()
    wait_until(lambda: ours.seen("error") >= times, SECONDS)
    # What was sent before this would have been done before it.
    ours.on_done.delay("afterwards").get(timeout=SECONDS)

    assert (ours.seen(f"error {level}"), ours.seen("error")) == (times, times)


def test_a_group_result_answers_for_its_members(ours: Workshop) -> None:
    """Its predicates, its values and its members; one that failed fails it."""
    good = group(ours.add.s(i, i) for i in range(3)).apply_async()
    bad = group(ours.add.s(1, 1), ours.fail.s()).apply_async()

    assert isinstance(good, GroupResult)
    assert good.join(timeout=SECONDS) == good.get(timeout=SECONDS) == [0, 2, 4]
    assert (good.ready(), good.successful(), good.failed()) == (True, True, False)
    assert [member.result for member in good.children] == [0, 2, 4]
    with pytest.raises(ValueError, match="as asked"):
        bad.join(timeout=SECONDS)
    wait_until(bad.ready, SECONDS)
    assert (bad.successful(), bad.failed(), bad.completed_count()) == (False, True, 1)


def test_results_lead_to_members_and_back(ours: Workshop) -> None:
    """From a chord's body up to its header and the step before, and down from each to what it sent."""
    body = chain(
        ours.add.s(1, 1), group(ours.add.s(1), ours.add.s(2)), ours.total.s()
    ).apply_async()

    assert body.get(timeout=SECONDS) == 7
    header = body.parent
    assert isinstance(header, GroupResult)
    assert [member.result for member in header.children] == [3, 4]
    first = header.parent
    assert (first.result, first.parent) == (2, None)
    assert {it.id for child in first.children for it in (child.results or [child])} == {
        member.id for member in header.children
    }
