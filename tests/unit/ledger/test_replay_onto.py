"""A step is replayed onto another queue only where its own pool takes from that."""

from __future__ import annotations

from typing import Any

import pytest

from services.ledger.dead_steps import Dead
from services.ledger.replay import Onto, Operator, problem_of_replay

ONTO = Onto("quiet", lambda task: task.startswith("notifications."))


@pytest.mark.parametrize(
    ("task", "onto", "problem"),
    [
        ("notifications.notify_user", ONTO, None),
        ("db_writes.save_event", None, None),
        (
            "db_writes.save_event",
            ONTO,
            "db_writes.save_event is not done by the pool of queue quiet",
        ),
        (None, ONTO, "its task is not done by the pool of queue quiet"),
    ],
)
def test_the_queues_pool_does_the_task(
    task: str | None, onto: Onto | None, problem: str | None
) -> None:
    """What is not known is refused too: nobody would do it there."""
    row: dict[str, Any] = {"state": "failed", "message": {}, "task": task}
    dead = Dead("step", None, task, "refused", None, None)
    found = problem_of_replay(dead, row, Operator("ada", "replay", "doorbell", onto))

    assert (found or "").partition(":")[0] == (problem or "")


def test_what_cannot_be_replayed_at_all_says_so_first() -> None:
    """Another queue mends nothing about a step that is done."""
    row: dict[str, Any] = {"state": "done", "message": {}, "task": "notifications.notify_user"}
    dead = Dead("step", None, "notifications.notify_user", "refused", None, None)

    assert problem_of_replay(dead, row, Operator("ada", "replay", "doorbell", ONTO)) == "it is done"
