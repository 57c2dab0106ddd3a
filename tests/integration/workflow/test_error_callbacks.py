"""Which error callback fires at which level, how often, and what it leaves behind.

The table in the README says the same; the causes are real: rows that are gone,
an API that refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi

CALLBACKS = (
    "notifications.notify_plainly",
    "db_writes.record_unscored",
    "maintenance.note_failed_group",
    "maintenance.note_failed_workflow",
)


@contextmanager
def held(cluster: Cluster, *pools: str) -> Iterator[None]:
    """These pools take nothing during the block."""
    for pool in pools:
        cluster.fleet.stop(pool)
        wait_until(lambda pool=pool: not cluster.consumers(pool), 60, pool)
    try:
        yield
    finally:
        for pool in pools:
            cluster.fleet.start(pool)
        for pool in pools:
            wait_until(lambda pool=pool: cluster.consumers(pool), 60, pool)


def state(cluster: Cluster, workflow: str, task: str) -> str:
    states = [s["state"] for s in cluster.workflow(workflow)["steps"] if s["task"] == task]
    return str(states[0])


def fired(cluster: Cluster, workflow: str) -> dict[str, int]:
    """How often each error callback was called; with its login erased, it may refuse in its turn."""
    rows = cluster.rows(
        "SELECT task FROM step WHERE workflow_id = %s AND task = ANY(%s)",
        workflow,
        list(CALLBACKS),
    )
    return dict(Counter(task.split(".")[1] for (task,) in rows))


def erase_login(cluster: Cluster, workflow: str) -> None:
    cluster.rows("DELETE FROM reported_login WHERE workflow_id = %s", workflow)


@pytest.fixture
def user(cluster: Cluster) -> str:
    """A user who has a device already."""
    name = f"user-{uuid4().hex[:8]}"
    assert cluster.ended(cluster.post(name, IPHONE)) == ["done"]
    return name


def test_nothing_fails(cluster: Cluster, user: str) -> None:
    """No callback fires."""
    workflow = cluster.post(user, WINDOWS)

    assert cluster.ended(workflow) == ["done"]
    assert fired(cluster, workflow) == {}


def test_the_first_step_fails(cluster: Cluster, user: str) -> None:
    """The chain's callback fires once; what comes behind is blocked, and none of its callbacks fires."""
    with held(cluster, "device_checks"):
        workflow = cluster.post(user, WINDOWS)
        erase_login(cluster, workflow)

    assert cluster.ended(workflow) == ["failed"]
    assert fired(cluster, workflow) == {"note_failed_workflow": 1}
    assert state(cluster, workflow, "device_checks.check_device") == "failed"
    assert state(cluster, workflow, "external_api.score_login") == "blocked"
    assert state(cluster, workflow, "db_writes.apply_verdict") == "blocked"


def test_one_member_of_the_group_fails(cluster: Cluster, user: str) -> None:
    """The member's, the group's and the chain's callback fire; the body's says that it will not run."""
    with held(cluster, "notifications"):
        workflow = cluster.post(user, WINDOWS)
        wait_until(lambda: state(cluster, workflow, "db_writes.save_event") == "done", 30)
        erase_login(cluster, workflow)

    assert cluster.ended(workflow) == ["failed"]
    assert state(cluster, workflow, "notifications.notify_user") == "failed"
    assert state(cluster, workflow, "external_api.score_login") == "blocked"
    assert fired(cluster, workflow) == {
        "notify_plainly": 1,
        "note_failed_group": 1,
        "record_unscored": 1,
        "note_failed_workflow": 1,
    }
    noted = dict(
        cluster.rows("SELECT level, step_id FROM failed_step WHERE workflow_id = %s", workflow)
    )
    ids = {step["task"]: step["id"] for step in cluster.workflow(workflow)["steps"]}
    assert noted == {
        "group": ids["notifications.notify_user"],
        "chain": ids["external_api.score_login"],
    }


def test_both_members_of_the_group_fail(cluster: Cluster, user: str) -> None:
    """The group's callback fires once for each failed member."""
    with held(cluster, "notifications", "db_writes"):
        workflow = cluster.post(user, WINDOWS)
        wait_until(lambda: state(cluster, workflow, "device_checks.check_device") == "done", 30)
        erase_login(cluster, workflow)

    assert cluster.ended(workflow) == ["failed"]
    assert fired(cluster, workflow) == {
        "notify_plainly": 1,
        "note_failed_group": 2,
        "record_unscored": 1,
        "note_failed_workflow": 1,
    }


def test_the_api_refuses(cluster: Cluster, api: AdjustableOutlierApi, user: str) -> None:
    """The task's callback keeps the login as unscored, and the chain's fires once."""
    api.status = 422
    workflow = cluster.post(user, WINDOWS)

    assert cluster.ended(workflow) == ["failed"]
    assert state(cluster, workflow, "external_api.score_login") == "failed"
    assert state(cluster, workflow, "db_writes.apply_verdict") == "blocked"
    assert fired(cluster, workflow) == {"record_unscored": 1, "note_failed_workflow": 1}
    assert cluster.count("verdict", workflow) == 1


def test_the_last_step_fails(cluster: Cluster, api: AdjustableOutlierApi, user: str) -> None:
    """Only the chain's callback fires."""
    api.hold.clear()
    workflow = cluster.post(user, WINDOWS)
    wait_until(lambda: api.calls[workflow], 30)
    with held(cluster, "db_writes"):
        erase_login(cluster, workflow)
        api.hold.set()

    assert cluster.ended(workflow) == ["failed"]
    assert state(cluster, workflow, "db_writes.apply_verdict") == "failed"
    assert fired(cluster, workflow) == {"note_failed_workflow": 1}
