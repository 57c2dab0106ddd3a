"""A second copy of a message (the relay's, when a confirm came late) changes nothing."""

from __future__ import annotations

from time import monotonic

from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.integration.runner.worker_of_tests import FEW
from tests.support.fleet import wait_until

_SOFT_LIMIT = 4


def _end(io: Bench, step_id: str) -> None:
    """Another process ends the step; this one has its message acked."""
    done = "UPDATE step SET state = 'done', status = 'SUCCESS', result = '{}' WHERE id = %s"
    io.rows(done, step_id)
    wait_until(lambda: not io.unacked(), SECONDS, "the message is still in hand")


def test_a_call_is_made_once(io: Bench) -> None:
    """The copy waits until the first has ended, though both are here at once."""
    (step_id,), (item,) = names("id"), names("linger")
    for _ in range(2):
        io.send("try.call", item, task_id=step_id)

    assert io.ended([step_id]) == ["done"]
    wait_until(io.is_idle, SECONDS)
    (later,) = io.send("try.call", *names("ok"))
    assert io.ended([later]) == ["done"]
    assert io.ran(item) == 1


def test_a_call_outlives_its_connection(io: Bench) -> None:
    """The broker closes it and gives the message out again; whoever calls lives, so nobody else calls."""
    (item,) = names("gate")
    (step_id,) = io.send("try.call", item)
    wait_until(lambda: io.ran(item), SECONDS)
    # Ours stay: later tests send over them.
    io.node.cut_off(io.pool)
    came_again = "SELECT id FROM step WHERE id = %s AND redeliveries > 0"
    wait_until(lambda: io.rows(came_again, step_id), SECONDS, "it was not given out again")
    io.open(item)

    assert io.ended([step_id]) == ["done"]
    wait_until(io.is_idle, SECONDS)
    assert io.ran(item) == 1


def test_a_copy_leaves_no_second_dead_letter(io: Bench) -> None:
    """The step is dead-lettered once, by the delivery that ran."""
    (step_id,), (item,) = names("id"), names("refuse")
    for _ in range(3):
        io.send("try.call", item, task_id=step_id)

    assert io.ended([step_id]) == ["failed"]
    io.fleet.stop(io.pool)
    io.start()
    assert [each.headers["id"] for each in io.dead_letters()] == [step_id]


def test_a_call_that_lost_the_database_is_made_again(io: Bench) -> None:
    """At once: the step's reservation is this process's own."""
    (item,) = names("away once")
    (step_id,) = io.send("try.call", item)

    assert io.ended([step_id]) == ["done"]
    assert io.ran(item) == 2


def test_a_call_that_lost_the_database_is_not_made_again_for_a_step_that_is_done(io: Bench) -> None:
    """While this process was cut off, another one has run the step."""
    (item,) = names("away")
    (step_id,) = io.send("try.call", item)
    wait_until(lambda: io.ran(item), SECONDS)

    io.rows(
        "UPDATE step SET state = 'done', status = 'SUCCESS', result = '{}' WHERE id = %s", step_id
    )
    before = io.ran(item)
    wait_until(lambda: not io.unacked(), SECONDS, "the message is still in hand")
    assert io.ran(item) <= before + 1


def test_a_call_that_lost_the_database_waits_for_who_took_it_over(io: Bench) -> None:
    """The step's reservation is another process's now: it is for that one to call."""
    (item,) = names("away")
    (step_id,) = io.send("try.call", item)
    wait_until(lambda: io.ran(item), SECONDS)

    io.rows("UPDATE step SET lease_until = now() + interval '1 hour' WHERE id = %s", step_id)
    before = io.ran(item)
    (later,) = io.send("try.call", *names("ok"))
    assert io.ended([later]) == ["done"]
    assert io.ran(item) <= before + 1
    _end(io, step_id)


def test_a_call_that_waited_for_longer_than_its_soft_limit_is_admitted_again(io: Bench) -> None:
    """Its task has no place for longer than it may wait; meanwhile another process has run it."""
    before = len(io.lines("ran hold"))
    io.send("try.few", *names("hold", FEW))
    wait_until(lambda: len(io.lines("ran hold")) == before + FEW, SECONDS)
    (item,) = names("ok")
    (step_id,) = io.send("try.few", item, soft_time_limit=1)
    reserved = "SELECT 1 FROM step WHERE id = %s AND lease_until IS NOT NULL"
    wait_until(lambda: io.rows(reserved, step_id), SECONDS)

    _end(io, step_id)
    assert io.ran(item) == 0


def test_a_copy_waits_for_a_call_that_began_late_in_its_reservation(io: Bench) -> None:
    """All its task's places were taken until then; the call lasts for less than its own soft limit."""
    gates = names("gate", FEW)
    busy = io.send("try.few", *gates)
    wait_until(lambda: all(io.ran(gate) for gate in gates), SECONDS, "the calls that hang")
    (step_id,), (item,) = names("id"), names("gate")
    for _ in range(2):
        io.send("try.few", item, task_id=step_id, soft_time_limit=_SOFT_LIMIT)
    reserved = "SELECT 1 FROM step WHERE id = %s AND lease_until IS NOT NULL"
    wait_until(lambda: io.rows(reserved, step_id), SECONDS)
    admitted = monotonic()

    wait_until(lambda: monotonic() > admitted + 0.75 * _SOFT_LIMIT, SECONDS)
    for gate in gates:
        io.open(gate)
    wait_until(lambda: io.ran(item), SECONDS, "the call")
    wait_until(lambda: monotonic() > admitted + 1.4 * _SOFT_LIMIT, SECONDS)
    io.open(item)

    assert io.ended([step_id, *busy]) == ["done"] * (1 + FEW)
    assert io.ran(item) == 1
