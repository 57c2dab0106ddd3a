"""The cluster as its users meet it: a login goes in over HTTP, its effects come out."""

from __future__ import annotations

import mailbox
import os
import signal
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from deploy.local import cluster as local_cluster
from deploy.local.choices import Choices
from deploy.local.layout import Layout
from deploy.local.supervision import Supervisor
from routing.load import load
from services import healthcheck
from tests.e2e.application import Application
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

ENDPOINTS = {
    "gateway",
    "flower",
    "flower_viewers",
    "prometheus",
    "alertmanager",
    "rabbitmq_management",
    "outlier_api",
    "smtp_url",
    "database_url",
    "broker_url",
    "api_key",
    "mail_directory",
}
STEPS = {
    "device_checks.check_device",
    "notifications.notify_user",
    "db_writes.save_event",
    "external_api.score_login",
    "db_writes.apply_verdict",
}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.4 Mobile/15E148 Safari/604.1"
)


def test_a_login_is_accepted_and_ends_done_with_a_verdict(application: Application) -> None:
    """Each planned step runs in its pool, and the workflow ends done."""
    workflow_id = application.report(user_id=new_user(), user_agent=FIREFOX)

    workflow = application.wait_for_end(workflow_id)

    assert workflow["state"] == "done"
    assert workflow["verdict"]["level"] in ("low", "medium", "high")
    done = {step["task"]: step["queue"] for step in workflow["steps"] if step["state"] == "done"}
    assert done.keys() >= STEPS
    assert all(task.startswith(f"{queue}.") for task, queue in done.items())


def test_a_new_device_is_told_by_mail_once(
    application: Application, endpoints: dict[str, str]
) -> None:
    """The second device of a user causes exactly one mail, however often its login is reported."""
    user = new_user()
    email = f"{user}@example.org"
    first = application.report(user_id=user, user_agent=FIREFOX, email=email)
    application.wait_for_end(first)

    event_id = str(uuid.uuid4())
    reported = {
        application.report(user_id=user, user_agent=IPHONE, email=email, event_id=event_id)
        for _ in range(3)
    }

    assert len(reported) == 1
    wait_until(lambda: bool(subjects_to(email, endpoints)), 30, "the mail about the new device")
    application.wait_for_end(reported.pop())
    told = subjects_to(email, endpoints)
    # A verdict may have its own mail: what is unusual depends on everybody's logins so far.
    assert len([subject for subject in told if subject.startswith("New sign-in")]) == 1, told


def test_a_killed_worker_comes_back_and_the_login_ends_done(
    application: Application, layout: Layout
) -> None:
    """The supervisor replaces a killed process, and what was reported meanwhile is not lost."""
    supervisor = Supervisor(layout)
    pid = supervisor.states()["device_checks.1"]["pid"]
    os.kill(pid, signal.SIGKILL)

    workflow_id = application.report(user_id=new_user(), user_agent=FIREFOX)

    assert application.wait_for_end(workflow_id)["state"] == "done"
    assert pid != supervisor.states()["device_checks.1"]["pid"]


def test_up_again_changes_nothing(layout: Layout, request: pytest.FixtureRequest) -> None:
    """A second `up` leaves every process alone."""
    if request.config.getoption("--cluster"):
        pytest.skip("the given cluster may have been started with other options")
    before = pids(layout)

    local_cluster.up(layout, Choices(), print, usual_ports=False)

    assert before == pids(layout)


def test_processes_say_that_they_are_alive(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each worker and the schedule, in the file that a supervisor looks at."""
    for name in pids(layout):
        pool, _, number = name.partition(".")
        if number and pool in load().pools:
            healthcheck.main(["worker", "--useful", "--file", str(layout.heartbeat(name))])
            assert capsys.readouterr().out.startswith("consuming; "), name
    assert healthcheck.main(["beat", "--file", str(layout.heartbeat("schedule"))]) == 0


def test_what_waits_in_queues_steps_back_for_whom_somebody_waits_for(layout: Layout) -> None:
    """While all processors are busy the gateway goes before the pools, and notices before scores."""
    nice = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in pids(layout).items()}
    notices = {nice["device_checks.1"], nice["notifications.1"]}
    scores = {nice["external_api.1"], nice["db_writes.1"]}

    assert nice["gateway"] < min(notices)
    assert max(notices) < min(scores)


def test_the_endpoints_are_complete_and_private(layout: Layout, endpoints: dict[str, str]) -> None:
    """endpoints.json has the promised keys, and only its owner reads it and the secrets."""
    secrets = [path for path in layout.secrets.rglob("*") if path.is_file()]

    assert endpoints.keys() == ENDPOINTS
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in [layout.endpoints, *secrets]}


def test_prometheus_reaches_everything(endpoints: dict[str, str]) -> None:
    """Each process that has metrics is scraped, each pool among them."""

    def unreached() -> list[str]:
        return [target["scrapeUrl"] for target in targets(endpoints) if target["health"] != "up"]

    wait_until(lambda: not unreached(), 60, "all targets to be up")
    pools = {target["labels"].get("pool") for target in targets(endpoints)}
    assert {"device_checks", "notifications", "db_writes", "external_api", "maintenance"} <= pools


def test_flower_asks_who_is_there_and_shows_tasks(
    application: Application, endpoints: dict[str, str]
) -> None:
    """Without its password Flower shows nothing; with it, the steps of a login by their ids."""
    bare = endpoints["flower"].replace(endpoints["flower"].split("@")[0] + "@", "http://")
    assert requests.get(f"{bare}/api/tasks", timeout=10).status_code == 401

    workflow = application.wait_for_end(application.report(user_id=new_user(), user_agent=FIREFOX))

    steps = {step["id"] for step in workflow["steps"] if step["state"] == "done"}
    wait_until(lambda: steps <= flower_tasks(endpoints).keys(), 30, "the steps in Flower")


def test_the_broker_knows_no_guest(endpoints: dict[str, str]) -> None:
    """RabbitMQ's usual user and password open nothing."""
    bare = "http://" + endpoints["rabbitmq_management"].split("@")[1]

    answer = requests.get(f"{bare}/api/whoami", auth=("guest", "guest"), timeout=10)

    assert answer.status_code == 401


def new_user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def pids(layout: Layout) -> dict[str, int]:
    return {name: state["pid"] for name, state in Supervisor(layout).states().items()}


def subjects_to(address: str, endpoints: Mapping[str, str]) -> list[str]:
    box = mailbox.Maildir(Path(endpoints["mail_directory"]), create=False)
    return [
        f"{message['Subject']} {message['Message-ID']}"
        for message in box
        if address in (message["To"] or "")
    ]


def targets(endpoints: Mapping[str, str]) -> list[dict[str, Any]]:
    answer = requests.get(f"{endpoints['prometheus']}/api/v1/targets", timeout=10).json()
    active: list[dict[str, Any]] = answer["data"]["activeTargets"]
    return active


def flower_tasks(endpoints: Mapping[str, str]) -> dict[str, Any]:
    tasks: dict[str, Any] = requests.get(f"{endpoints['flower']}/api/tasks", timeout=10).json()
    return tasks
