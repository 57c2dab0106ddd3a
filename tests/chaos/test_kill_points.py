"""A worker dies by SIGKILL at each point between handler and ack: the effect is there once."""

from __future__ import annotations

import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until

SENDERS = ("notifications.notify_user", "db_writes.save_event")
"""Whichever of the group's members commits last completes the join."""

KILLS = [
    ("after_handler", "device_checks.check_device"),
    ("after_commit", "device_checks.check_device"),
    ("after_first_publish", "device_checks.check_device"),
    ("after_last_publish", "device_checks.check_device"),
    ("before_ack", "device_checks.check_device"),
    ("after_handler", "notifications.notify_user"),
    ("after_first_publish", "notifications.notify_user"),
    ("before_ack", "notifications.notify_user"),
    ("after_handler", "db_writes.save_event"),
    ("after_commit", "db_writes.save_event"),
    ("after_handler", "external_api.score_login"),
    ("after_commit", "external_api.score_login"),
    ("before_ack", "external_api.score_login"),
    ("after_handler", "db_writes.apply_verdict"),
    ("after_commit", "db_writes.apply_verdict"),
    ("before_ack", "db_writes.apply_verdict"),
    ("after_handler", "notifications.deliver_notice"),
    ("after_commit", "notifications.deliver_notice"),
    ("before_ack", "notifications.deliver_notice"),
]


@pytest.mark.parametrize(("point", "task"), KILLS, ids=str)
def test_one_kill(cluster: Cluster, tmp_path: Path, point: str, task: str) -> None:
    """The step's process dies there once; the workflow ends done with each effect once."""
    marker = tmp_path / "killed"
    _run_with_kills(cluster, {task.split(".", maxsplit=1)[0]: f"{point}@{task}={marker}"}, marker)


@pytest.mark.parametrize("point", ["after_join", "before_body_publish"])
def test_a_kill_around_the_join(cluster: Cluster, tmp_path: Path, point: str) -> None:
    """The process that completes the header dies before, or between, join and body."""
    marker = tmp_path / "killed"
    arms = {task.split(".")[0]: f"{point}@{task}={marker}" for task in SENDERS}
    _run_with_kills(cluster, arms, marker)


def _run_with_kills(cluster: Cluster, arms: dict[str, str], marker: Path) -> None:
    user = f"user-{uuid4().hex[:8]}"
    assert cluster.ended(cluster.post(user, IPHONE)) == ["done"]
    for pool, spec in arms.items():
        _restart(cluster, pool, spec)
    workflow = cluster.post(user, WINDOWS)

    victim = wait_until(lambda: _dead(cluster, arms), 60, f"nobody died at {arms}")
    assert marker.exists()
    cluster.fleet.processes.pop(victim)
    for pool in arms:
        _restart(cluster, pool, "")

    assert cluster.ended(workflow) == ["done"]
    assert _effects(cluster, workflow, user) == {
        "login": 1,
        "notice": 1,
        "receipts": 1,
        "verdict": 1,
        "mails": 1,
    }
    wait_until(lambda: not cluster.waiting_messages(), 30, "messages are left over")


def _restart(cluster: Cluster, pool: str, spec: str) -> None:
    if pool in cluster.fleet.processes:
        cluster.fleet.stop(pool)
    wait_until(lambda: not cluster.consumers(pool), 60, f"{pool} is still consuming")
    cluster.fleet.start(pool, DOORBELL_FAILPOINTS=spec)
    wait_until(lambda: cluster.consumers(pool), 60, pool)


def _dead(cluster: Cluster, arms: dict[str, str]) -> str | None:
    for pool in arms:
        process = cluster.fleet.processes.get(pool)
        if process is not None and process.poll() is not None:
            assert process.returncode == -signal.SIGKILL
            return pool
    return None


def _effects(cluster: Cluster, workflow: str, user: str) -> dict[str, int]:
    receipts = cluster.rows(
        "SELECT count(*) FROM receipt r JOIN notice n ON n.id = r.notice_id"
        " WHERE n.workflow_id = %s",
        workflow,
    )
    return {
        "login": cluster.count("login", workflow),
        "notice": cluster.count("notice", workflow),
        "receipts": int(receipts[0][0]),
        "verdict": cluster.count("verdict", workflow),
        "mails": len(cluster.mails_to(user)),
    }
