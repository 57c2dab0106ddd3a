"""What operators see of one login: its steps in a monitor by workflow and by user, its errors in the log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from routing.load import load
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import IPHONE, Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi

SECONDS = 60
OF_A_NEW_DEVICE = {
    "device_checks.check_device",
    "notifications.notify_user",
    "notifications.deliver_notice",
    "notifications.record_receipt",
    "db_writes.save_event",
    "external_api.score_login",
    "db_writes.apply_verdict",
}


@pytest.fixture
def received(cluster: Cluster) -> Iterator[list[dict[str, Any]]]:
    """Events of received steps, as Flower hears them, with no more rights."""
    heard: list[dict[str, Any]] = []
    alive = threading.Event()
    handlers: dict[str, Any] = {
        "task-received": heard.append,
        "worker-heartbeat": lambda _: alive.set(),
    }
    with (
        Celery(broker=cluster.fleet.broker_url("flower"), set_as_current=False) as app,
        app.connection_for_read() as connection,
    ):
        receiver = app.events.Receiver(connection, handlers=handlers)
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, wakeup=False))
        thread.start()
        assert alive.wait(SECONDS)
        yield heard
        receiver.should_stop = True
        thread.join(SECONDS)


def found(events: list[dict[str, Any]], search: str) -> set[str]:
    """Tasks that Flower's search finds: `kwargs:NAME=VALUE`."""
    name, _, value = search.removeprefix("kwargs:").partition("=")
    return {event["name"] for event in events if f"'{name}': '{value}'" in event["kwargs"]}


def test_every_step_of_a_login_is_found_by_workflow_and_by_user(
    cluster: Cluster, received: list[dict[str, Any]], operate: Operate
) -> None:
    """Also those outside the chord, and none of another user's; the user's own name is nowhere."""
    user, other = (f"user-{uuid4().hex[:8]}" for _ in range(2))
    first, second, others = (
        cluster.post(user),
        cluster.post(user, IPHONE),
        cluster.post(other),
    )
    assert cluster.ended(first, second, others) == ["done"] * 3
    _, [known] = operate("users", "show", user)
    new_device = f"kwargs:workflow={second}"

    wait_until(lambda: found(received, new_device) == OF_A_NEW_DEVICE, SECONDS)
    by_user = {
        event["uuid"] for event in received if known["flower_search"][-16:] in event["kwargs"]
    }
    by_workflow = {
        event["uuid"] for event in received if first in event["kwargs"] or second in event["kwargs"]
    }
    assert by_user == by_workflow
    assert known["last_workflow"] == second
    assert not [event for event in received if user in str(event)]


def test_a_user_who_never_logged_in_is_not_known(cluster: Cluster, operate: Operate) -> None:
    """Exit code 4, and what was looked for."""
    code, said = operate("users", "show", "nobody")
    assert (code, said) == (4, "doorbell: no login of a user nobody is in the ledger\n")


def test_an_attempt_that_fails_is_in_the_log(cluster: Cluster, api: AdjustableOutlierApi) -> None:
    """One line of JSON with its workflow, step, pool and host; and there are no other lines."""
    names = (*load().pools, "beat", "gateway")
    # What others have provoked before, such as the stacks of a process that was hung, is not ours.
    before = {name: len(cluster.fleet.log(name)) for name in names}
    api.status = 500
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")
    wait_until(lambda: workflow in cluster.fleet.log("external_api"), SECONDS)
    api.reset()
    assert cluster.ended(workflow) == ["done"]

    logs = {name: cluster.fleet.log(name)[before[name] :].splitlines() for name in names}
    assert [line for log in logs.values() for line in log if not line.startswith("{")] == []
    lines = [json.loads(line) for line in logs["external_api"]]
    told = next(line for line in lines if line.get("workflow") == workflow)
    [(step,)] = cluster.rows(
        "SELECT id FROM step WHERE workflow_id = %s AND task = 'external_api.score_login'", workflow
    )
    assert told["step"] == step
    assert (told["level"], told["task"]) == ("warning", "external_api.score_login")
    assert (told["pool"], told["process"]) == ("external_api", "external_api.1")
    assert told["host"] == "test"
    assert told["event"].startswith("attempt retried: ")


def test_a_stop_is_in_the_log(cluster: Cluster) -> None:
    """As an event too: Celery would say it in a line of its own kind."""
    name = "maintenance"
    before = len(cluster.fleet.log(name))
    assert cluster.fleet.stop(name) == 0
    lines = cluster.fleet.log(name)[before:].splitlines()
    cluster.fleet.start(name)
    wait_until(lambda: cluster.consumers(name) == 1, SECONDS)

    told = [json.loads(line) for line in lines]
    assert [each["pool"] for each in told if each["event"].startswith("stopping")] == [name]


def test_the_doctor_sees_the_workers(cluster: Cluster, operate: Operate) -> None:
    """Also where it knows no management interface, as on hosts."""
    # Another test may have started a pool again just now.
    for queue in load().queues:
        wait_until(lambda queue=queue: cluster.consumers(queue) >= 1, SECONDS)
    _, findings = operate("doctor")
    verdicts = {each["what"]: each["verdict"] for each in findings}
    assert (verdicts["workers"], verdicts["broker's topology"]) == ("ok", "skipped")
