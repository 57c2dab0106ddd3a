"""`doorbell task`: steps of a paused task wait in the ledger, not in a queue, and go on when it is resumed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from routing.load import load
from services import settings
from services.celery_app import make_app
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until

NOTIFY = "notifications.notify_user"
CHECK = "device_checks.check_device"


def states(cluster: Cluster, workflow: str) -> dict[str, str]:
    return {step["task"]: step["state"] for step in cluster.workflow(workflow)["steps"]}


def listed(operate: Operate, task: str) -> Any:
    return next(row for row in operate("task", "list")[1] if row["task"] == task)


def test_steps_wait_in_the_ledger_and_go_on_after_the_resume(
    cluster: Cluster, operate: Operate
) -> None:
    """The queue is empty meanwhile, other tasks go on, and over a worker's death nothing is done twice."""
    user = f"user-{uuid4().hex[:8]}"
    cluster.ended(cluster.post(user, IPHONE))
    assert operate("task", "pause", NOTIFY)[0] == 0
    workflow = cluster.post(user, WINDOWS)
    wait_until(lambda: states(cluster, workflow)[NOTIFY] == "parked", 30, "the notice to be parked")
    wait_until(lambda: states(cluster, workflow)["db_writes.save_event"] == "done", 30)
    assert cluster.node.peek("notifications", "doorbell")[0] == 0
    assert listed(operate, NOTIFY)["parked"] == 1
    cluster.fleet.kill("notifications")
    cluster.fleet.start("notifications", "services.worker", ("notifications",))

    code, told = operate("task", "resume", NOTIFY)
    assert (code, told["was_paused"], told["parked"]) == (0, True, 1)
    assert cluster.ended(workflow) == ["done"]
    wait_until(lambda: len(cluster.mails_to(user)) == 1, 30)
    assert listed(operate, NOTIFY)["parked"] == 0
    [(by, resumed_by)] = cluster.rows(
        "SELECT paused_by, resumed_by FROM pause ORDER BY id DESC LIMIT 1"
    )
    assert by == resumed_by
    assert "@" in by


def test_what_was_sent_by_hand_is_kept_with_its_message(cluster: Cluster, operate: Operate) -> None:
    """The ledger never had its message: it keeps the delivered one, callbacks and all."""
    operate("task", "pause", CHECK)
    parked = f"by-hand-{uuid4().hex}"
    environment = cluster.fleet.environment("operator")
    wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
    app = make_app(settings.load(wanted), load())
    with app.producer_or_acquire() as producer:
        app.send_task(CHECK, [str(uuid4())], task_id=parked, producer=producer)
    app.close()
    of_it = "SELECT state, message ->> 'task' FROM step WHERE id = %s"
    wait_until(lambda: cluster.rows(of_it, parked) == [("parked", CHECK)], 30)
    operate("task", "resume", CHECK)
    # Of a workflow that nobody knows: the handler has an answer to that, and it is its own.
    wait_until(lambda: cluster.rows(of_it, parked)[0][0] in {"done", "failed", "dead"}, 30)


def test_a_pause_that_drops_gives_up_what_comes(cluster: Cluster, operate: Operate) -> None:
    """Only when somebody has said so, and what it gave up can be replayed; the pause before it stays on record."""
    operate("task", "pause", CHECK)
    code, said = operate("task", "pause", CHECK, "--drop")
    assert code == 2
    assert "--yes" in said
    operate("task", "pause", CHECK, "--drop", "--yes")
    operate("task", "pause", CHECK, "--drop", "--yes")
    kept, dropping = cluster.rows("SELECT drops, resumed_by FROM pause ORDER BY id DESC LIMIT 2")[
        ::-1
    ]
    assert kept == (False, listed(operate, CHECK)["paused_by"])
    assert dropping == (True, None)
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")
    assert cluster.ended(workflow) == ["failed"]
    operate("task", "resume", CHECK)
    code, told = operate("dead", "replay", "--workflow", workflow, "--reason", "dropped", "--yes")
    assert code == 0, told
    assert cluster.ended(workflow) == ["done"]


def test_what_cannot_be_paused_is_said(operate: Operate) -> None:
    code, said = operate("task", "pause", "notify")
    assert code == 4
    assert NOTIFY in said
    code, said = operate("task", "pause", "maintenance.relay")
    assert code == 1
    assert "cannot be paused" in said
