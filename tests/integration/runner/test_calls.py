"""The I/O style: whatever a call does, its step ends, and the others go on."""

from __future__ import annotations

import pytest

from routing.load import load
from services.runner.gathering import LISTS_IN_FLIGHT
from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.integration.runner.worker_of_tests import FEW
from tests.support.fleet import wait_until

LISTS = ("try.calls", "try.coroutines")


@pytest.mark.parametrize("task", ["try.call", "try.coroutine", "try.calls", "try.coroutines"])
def test_outcomes_of_calls(io: Bench, task: str) -> None:
    """On a thread or on the loop: done, failed, tried again, dead, and a bug is dead too."""
    items = [
        *names("ok"),
        *names("refuse"),
        *names("unavailable once"),
        *names("unavailable"),
        *names("raise"),
    ]
    ids = io.send(task, *items)

    assert io.ended(ids) == ["done", "failed", "done", "dead", "dead"]
    # A list that blows up is called one by one: what was called before the bug is called again.
    again = max(io.ran(items[-1]) - 1, 0)
    assert again == 0 or task in LISTS
    assert [io.ran(item) for item in items[2:4]] == [2, 2] or again
    assert all(io.ran(item) <= 1 + again for item in items[:2])
    assert io.dead_letter(ids[4]).headers["id"] == ids[4]


@pytest.mark.parametrize("task", ["try.call", "try.coroutine", "try.calls", "try.coroutines"])
def test_a_cancelled_call_is_a_failure_like_another(io: Bench, task: str) -> None:
    """A client library's CancelledError neither loses the step nor stops the loop."""
    ids = io.send(task, *names("cancel"), *names("ok"))

    assert io.ended(ids) == ["dead", "done"]
    io.dead_letter(ids[0])


@pytest.mark.parametrize("task", ["try.call", "try.batch", "try.plain"])
def test_a_step_that_wants_too_much_memory_fails(io: Bench, task: str) -> None:
    """Alone, and its message is kept: Celery's own process would have ended with it."""
    starts = len(io.lines("start"))
    (step_id,) = io.send(task, *names("memory"))

    assert io.ended([step_id]) == ["dead"]
    assert io.dead_letter(step_id).headers["id"] == step_id
    assert len(io.lines("start")) == starts


@pytest.mark.parametrize("task", ["try.call", "try.coroutine", "try.calls", "try.coroutines"])
def test_a_handlers_own_time_out_is_no_limit_of_ours(io: Bench, task: str) -> None:
    """What it raises fails it, as everything else does, and is not said to be the soft limit."""
    (item,) = names("slow")
    (step_id,) = io.send(task, item)

    assert io.ended([step_id]) == ["dead"]
    assert io.ran(item) == 1
    assert repr(io.app.AsyncResult(step_id).result) == f"TimeoutError('{item}')"
    io.dead_letter(step_id)


@pytest.mark.parametrize(
    "task", ["try.call", "try.coroutine", "try.calls", "try.coroutines", "try.batch"]
)
def test_steps_in_a_map(io: Bench, task: str) -> None:
    """celery.map calls them one after another, coroutines too."""
    items = names("ok", 2)
    sent = io.app.tasks[task].map(items).apply_async(queue=io.pool)

    assert sent.get(timeout=SECONDS) == [{"item": item} for item in items]


@pytest.mark.parametrize("task", ["try.call", "try.coroutine", "try.calls", "try.coroutines"])
def test_a_call_that_exits_ends_its_process_like_a_kill(io: Bench, task: str) -> None:
    """The loop does not stand still behind it: another process starts and the step is done."""
    starts = len(io.lines("start"))
    (item,) = names("exit once")
    ids = io.send(task, item)

    assert io.ended(ids) == ["done"]
    assert io.ran(item) == 2
    assert len(io.lines("start")) == starts + 1


def test_slow_calls_hold_up_no_quick_one(io: Bench) -> None:
    """Thirty calls that take half a second each end together; a list would take fifteen."""
    ids = io.send("try.call", *names("linger", 30))

    assert io.ended(ids, 12) == ["done"] * 30


def test_two_hundred_calls_that_hang_hold_up_no_other(io: Bench) -> None:
    """It is called and ends while they all hang."""
    gates = names("gate", 200)
    hanging = io.send("try.call", *gates)
    wait_until(lambda: all(io.ran(gate) for gate in gates), SECONDS, "the calls that hang")

    assert io.ended(io.send("try.call", *names("ok"))) == ["done"]
    assert io.rows("SELECT DISTINCT state FROM step WHERE id = ANY(%s)", hanging) == [("ready",)]
    for gate in gates:
        io.open(gate)
    assert io.ended(hanging) == ["done"] * len(gates)


def test_a_task_with_a_bound_leaves_the_others_their_places(io: Bench) -> None:
    """Calls of it wait for its own places, more of them than the pool has; another task's call does not."""
    *gates, last = names("gate", FEW + 1)
    hanging = io.send("try.few", *gates)
    wait_until(lambda: all(io.ran(gate) for gate in gates), SECONDS, "the calls that hang")
    waiting = io.send("try.few", last, *names("ok", load().pool(io.pool).concurrency))
    reserved = "SELECT count(*) FROM step WHERE id = ANY(%s) AND lease_until IS NOT NULL"
    wait_until(lambda: io.rows(reserved, waiting) == [(len(waiting),)], SECONDS, "what waits")

    assert io.ended(io.send("try.call", *names("ok"))) == ["done"]
    assert io.ran(last) == 0
    for gate in (*gates, last):
        io.open(gate)
    assert io.ended(hanging + waiting) == ["done"] * (len(hanging) + len(waiting))


def test_steps_that_wait_are_called_together(io: Bench) -> None:
    """Four calls are waited for; what comes meanwhile is one list, and not one call each."""
    gates = names("gate", LISTS_IN_FLIGHT)
    busy = []
    for gate in gates:
        busy += io.send("try.calls", gate)
        wait_until(lambda: io.ran(gate), SECONDS, "the call")  # noqa: B023
    ids = io.send("try.calls", *names("ok", 20))
    reserved = "SELECT count(*) FROM step WHERE id = ANY(%s) AND lease_until IS NOT NULL"
    wait_until(lambda: io.rows(reserved, ids) == [(20,)], SECONDS, "what waits for a call")
    for gate in gates:
        io.open(gate)

    assert io.ended(busy + ids) == ["done"] * (LISTS_IN_FLIGHT + 20)
    assert max(int(line.split()[-1]) for line in io.lines("called together")) > 10


@pytest.mark.parametrize("word", ["raise", "cancel", "forget"])
def test_a_step_that_blows_up_fails_alone(io: Bench, word: str) -> None:
    """Or has its list answered one too few: its neighbours are called again, without it."""
    good, (bad,) = names("ok", 6), names(word)
    io.send("try.calls", *names("linger", 8))
    ids = io.send("try.calls", *good[:3], bad, *good[3:])

    assert io.ended(ids) == ["done"] * 3 + ["dead"] + ["done"] * 3
    assert io.dead_letter(ids[3]).headers["task"] == "try.calls"


def test_lists_that_blow_up_while_many_wait_hold_up_nobody(io: Bench) -> None:
    """Called one by one they keep their places: those that wait for one cannot take them all."""
    ids = io.send("try.calls", *names("linger", 8), *names("raise", 100))

    assert io.ended(ids, 4 * SECONDS) == ["done"] * 8 + ["dead"] * 100
    left = set(ids[8:])
    wait_until(
        lambda: not left.difference_update(m.headers["id"] for m in io.dead_letters()) and not left
    )


def test_waiting_for_a_free_thread_is_no_slowness_of_the_call(io: Bench) -> None:
    """More calls than run at once, one after another: the soft limit counts from each one's own start."""
    items = names("linger", 4 * FEW)
    ids = io.send("try.few", *items, soft_time_limit=0.8, time_limit=30)

    assert io.ended(ids) == ["done"] * len(items)
    assert io.rows("SELECT max(retries) FROM step WHERE id = ANY(%s)", ids) == [(0,)]


def test_other_tasks_in_an_io_pool(io: Bench) -> None:
    """Plain tasks and batch steps run there as well, one by one."""
    ids = io.send("try.plain", *names("ok")) + io.send("try.batch", *names("ok"))

    assert io.ended(ids) == ["done", "done"]
    wait_until(io.is_idle)
