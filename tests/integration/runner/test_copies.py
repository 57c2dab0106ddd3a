"""A second copy of a message (the relay's, when a confirm came late) changes nothing."""

from __future__ import annotations

from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.support.fleet import wait_until


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


def test_a_copy_leaves_no_second_dead_letter(io: Bench) -> None:
    """The step is dead-lettered once, by the delivery that ran."""
    (step_id,), (item,) = names("id"), names("refuse")
    for _ in range(3):
        io.send("try.call", item, task_id=step_id)

    assert io.ended([step_id]) == ["failed"]
    io.fleet.stop(io.pool)
    io.start()
    assert [each.headers["id"] for each in io.dead_letters()] == [step_id]
