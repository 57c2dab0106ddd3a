"""What follows from the topology alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from routing.load import load
from routing.rules import check_tasks
from routing.topology import dead_queue_name
from services.domain.errors import ConfigurationError
from tests.unit.routing.small import GOOD, load_text

TOPOLOGY = load()


def test_an_exact_name_wins_over_celerys_pattern() -> None:
    """A task has its own route; any of Celery's own goes where the pattern says."""
    assert TOPOLOGY.route("db_writes.save_event").queue == "db_writes"
    assert TOPOLOGY.route("celery.backend_cleanup").queue == "maintenance"
    assert TOPOLOGY.default_queue == "maintenance"


@pytest.mark.parametrize("name", ["db_writes.nothing", "celeryx", "celery", "", "db_writes"])
def test_a_task_without_route_is_refused(name: str) -> None:
    """No task slips into a default queue by a misspelled name."""
    with pytest.raises(ConfigurationError, match="has no route: add it under tasks"):
        TOPOLOGY.route(name)


def test_a_pool_sends_what_its_tasks_send_and_retries_into_its_own_queue(tmp_path: Path) -> None:
    """The sum of `sends` of a pool's tasks, and its own queues, in the order of the file."""
    small = load_text(tmp_path, GOOD)
    assert small.sends_of("bells") == ("bells", "doors")
    assert small.queues_of("doors") == ("doors",)


def test_a_task_may_wait_in_the_queues_of_its_pool(tmp_path: Path) -> None:
    """Celery's own tasks too; what has no route is done nowhere."""
    more = "  alarms: {pool: bells, delivery_limit: 20, max_length: 1000}\nretries:\n"
    small = load_text(tmp_path, GOOD.replace("retries:\n", more))
    found = {
        task: [queue for queue in small.queues if small.does(queue, task)]
        for task in ("bells.ring", "celery.map", "bells.nothing")
    }
    assert found == {
        "bells.ring": ["bells", "alarms"],
        "celery.map": ["doors"],
        "bells.nothing": [],
    }


def test_an_unknown_pool_is_named_with_the_known_ones() -> None:
    """A misspelled pool on a command line ends with the names to choose from."""
    known = re.escape(", ".join(TOPOLOGY.pools))
    with pytest.raises(ConfigurationError, match=f"no pool 'db_write': use one of {known}$"):
        TOPOLOGY.pool("db_write")


def test_a_dead_queue_is_named_after_its_queue() -> None:
    """The name by which people and programs find the dead letters of a queue."""
    assert dead_queue_name("db_writes") == "db_writes.dead"


def test_tasks_and_routes_that_match_are_accepted() -> None:
    """Every routed task, and Celery's own, registered: nothing to say."""
    check_tasks(TOPOLOGY, [*TOPOLOGY.tasks, "celery.chain", "celery.backend_cleanup"])


def test_tasks_and_routes_that_are_left_over_are_all_named() -> None:
    """A task without route and a route without task are both refused, the route with its line."""
    registered = {*TOPOLOGY.tasks, "db_writes.forgotten"} - {"db_writes.save_event"}
    with pytest.raises(ConfigurationError) as caught:
        check_tasks(TOPOLOGY, registered)
    line = TOPOLOGY.tasks["db_writes.save_event"].line
    assert str(caught.value).splitlines() == [
        (
            f"{TOPOLOGY.source}: task db_writes.forgotten has no route: "
            "add it under tasks with its queue"
        ),
        (
            f"{TOPOLOGY.source}:{line}: the route of db_writes.save_event leads to no registered task: "
            "define the task or take the route out"
        ),
    ]
