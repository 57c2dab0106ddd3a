"""Time limits: the soft one interrupts a step, the hard one ends the process and the message comes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.support.fleet import wait_until

SOFT = {"soft_time_limit": 1, "time_limit": 30}
HARD = {"soft_time_limit": 20, "time_limit": 2}
BOTH = {"soft_time_limit": 1, "time_limit": 3}
LATE = [
    ("batch", "try.batch", "busy once"),
    ("batch", "try.slow_statement", "slow"),
    ("io", "try.coroutine", "busy"),
]
"""Steps that pass a soft limit in Python, in PostgreSQL and on the loop, once."""


@pytest.mark.parametrize(("style", "task", "word"), LATE)
def test_the_soft_limit_interrupts_and_the_step_is_tried_again(
    request: pytest.FixtureRequest, style: str, task: str, word: str
) -> None:
    """In Python, in PostgreSQL and on the loop; the process lives on."""
    bench: Bench = request.getfixturevalue(style)
    starts = len(bench.lines("start"))
    (item,) = names(word)
    ids = bench.send(task, item, **SOFT)

    assert bench.ended(ids) == ["done"]
    assert bench.rows("SELECT retries FROM step WHERE id = %s", ids[0]) == [(1,)]
    assert len(bench.lines("start")) == starts


@contextmanager
def _limited(bench: Bench, **limits: str) -> Iterator[None]:
    """The bench's worker, started with other limits than its pool's of the topology."""
    assert bench.fleet.stop(bench.pool) == 0
    bench.start(**limits)
    yield
    assert bench.fleet.stop(bench.pool) == 0
    bench.start()


@pytest.mark.parametrize(("style", "task", "word"), LATE)
def test_the_pools_soft_limit_holds_for_what_has_none_of_its_own(
    request: pytest.FixtureRequest, style: str, task: str, word: str
) -> None:
    """Celery hands a worker's limits to its pool, and a message's and a task's with each step."""
    bench: Bench = request.getfixturevalue(style)
    with _limited(bench, SOFT_TIME_LIMIT="1"):
        ids = bench.send(task, *names(word))
        assert bench.ended(ids) == ["done"]
    assert bench.rows("SELECT retries FROM step WHERE id = %s", ids[0]) == [(1,)]


@pytest.mark.parametrize(("style", "task"), [("batch", "try.batch"), ("io", "try.call")])
def test_the_pools_hard_limit_holds_for_what_has_none_of_its_own(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    bench: Bench = request.getfixturevalue(style)
    with _limited(bench, TIME_LIMIT="2"):
        ids = bench.send(task, *names("stuck once"))
        assert bench.ended(ids) == ["dead"]
    assert bench.rows("SELECT reason FROM step WHERE id = %s", ids[0]) == [("timeout",)]
    bench.dead_letter(ids[0])


_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'SyncRep' AND query_start < now() - interval '6 s'
"""


@contextmanager
def _standby_missing(bench: Bench) -> Iterator[None]:
    """Commits wait for a standby that is not there."""
    bench.rows("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    bench.rows("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        bench.rows("ALTER SYSTEM RESET synchronous_standby_names")
        bench.rows("SELECT pg_reload_conf()")


@pytest.mark.parametrize(("style", "task"), [("batch", "try.batch"), ("io", "try.call")])
def test_no_limit_ends_a_commit_that_waits_for_a_standby(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """Nothing of the step runs any more: ended, it would begin again and again while the standby is away."""
    bench: Bench = request.getfixturevalue(style)
    starts = len(bench.lines("start"))
    (item,) = names("gate")
    ids = bench.send(task, item, soft_time_limit=3, time_limit=4)
    wait_until(lambda: bench.ran(item), SECONDS, "the call")
    with _standby_missing(bench):
        bench.open(item)
        wait_until(lambda: bench.rows(_WAITING)[0][0], SECONDS, "a commit that waits for long")
        assert bench.rows("SELECT FROM step WHERE id = %s AND state = 'done'", ids[0]) == []

    assert bench.ended(ids) == ["done"]
    assert bench.rows("SELECT retries FROM step WHERE id = %s", ids[0]) == [(0,)]
    assert (bench.ran(item), len(bench.lines("start"))) == (1, starts)


def test_a_neighbour_of_a_late_step_is_done(batch: Bench) -> None:
    """The list is split; only the late one comes later."""
    batch.send("try.batch", *names("linger"))
    ids = batch.send("try.batch", *names("ok"), *names("busy"), *names("ok"), **SOFT)

    assert batch.ended(ids) == ["done", "dead", "done"]
    retries = dict(batch.rows("SELECT id, retries FROM step WHERE id = ANY(%s)", ids))
    assert [retries[step_id] for step_id in ids] == [0, 1, 0]
    assert "soft limit" in str(batch.app.AsyncResult(ids[1]).result)
    batch.dead_letter(ids[1])


def test_a_plain_task_sees_celerys_exception(batch: Bench) -> None:
    """What a programmer did not catch is the task's failure, as with Celery's own pools."""
    (item,) = names("busy")
    ids = batch.send("try.plain", item, **SOFT)

    assert batch.ended(ids) == ["dead"]
    assert "SoftTimeLimitExceeded" in str(batch.app.AsyncResult(ids[0]).traceback)
    batch.dead_letter(ids[0])


@pytest.mark.parametrize("style", ["batch", "io"])
def test_the_limits_of_what_runs_one_by_one_are_each_steps_own(
    request: pytest.FixtureRequest, style: str
) -> None:
    """Plain tasks and celery.map come in lists too, but a neighbour takes none of their time."""
    bench: Bench = request.getfixturevalue(style)
    starts = len(bench.lines("start"))
    (gate,) = names("gate")
    bench.send("try.batch", gate)
    wait_until(lambda: bench.ran(gate), SECONDS, "the list that the others wait for")
    limits = {"soft_time_limit": 2, "time_limit": 4}
    ids = bench.send("try.plain", *names("linger", 10), **limits)
    wait_until(lambda: bench.unacked() == 11, SECONDS, "the next list to arrive")
    bench.open(gate)

    assert bench.ended(ids) == ["done"] * 10
    assert len(bench.lines("start")) == starts


@pytest.mark.parametrize(
    ("style", "task"), [("batch", "try.batch"), ("io", "try.call")], ids=["list", "call"]
)
def test_the_hard_limit_ends_the_process_and_dead_letters_the_step(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """What cannot be interrupted goes with its process; it is not started once more."""
    bench: Bench = request.getfixturevalue(style)
    starts = len(bench.lines("start"))
    (item,) = names("stuck once")
    ids = bench.send(task, item, **HARD)

    assert bench.ended(ids) == ["dead"]
    assert len(bench.lines("start")) == starts + 1
    assert bench.lines("end")[-1] == "end 70"
    assert bench.ran(item) == 1
    # Where it was stuck is in its log, by the handler's own lines.
    _, stands, threads = bench.fleet.log(bench.pool).rpartition("its threads stand at:")
    assert stands
    assert "(most recent call first):" in threads
    assert "worker_of_tests.py" in threads
    assert bench.rows("SELECT reason FROM step WHERE id = %s", ids[0]) == [("timeout",)]
    bench.dead_letter(ids[0])


def test_the_hard_limit_of_a_list_is_that_steps_alone_that_passed_it(io: Bench) -> None:
    """Nobody knows which of a list it was: they come again one by one, and the others are done."""
    starts = len(io.lines("start"))
    io.send("try.calls", *names("linger", 8))
    ids = io.send("try.calls", *names("ok", 3), *names("stuck"), *names("ok", 3), **HARD)

    assert io.ended(ids, 3 * SECONDS) == ["done"] * 3 + ["dead"] + ["done"] * 3
    assert len(io.lines("start")) - starts in (1, 2)
    assert io.rows("SELECT reason FROM step WHERE id = %s", ids[3]) == [("timeout",)]
    io.dead_letter(ids[3])
    io.wait_for_consumers(1)


def test_a_call_that_outlives_its_soft_limit_frees_its_thread(io: Bench) -> None:
    """The step is tried again meanwhile; the thread that never ends goes with its process."""
    starts = len(io.lines("start"))
    (item,) = names("stuck once")
    ids = io.send("try.call", item, **BOTH)

    assert io.ended(ids) == ["done"]
    assert io.ran(item) == 2
    wait_until(lambda: len(io.lines("start")) == starts + 1, SECONDS, "the process lives on")
    io.wait_for_consumers(1)
