"""The composed fleet as its users meet it: brought up from nothing, used, and hurt."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import requests

from routing.load import load
from tests.compose.conftest import BroughtUp, unhealthy
from tests.compose.stack import PUBLISHED, Stack, service_of
from tests.e2e.application import Application
from tests.e2e.test_smoke import FIREFOX, IPHONE, STEPS, new_user
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

MAILS = "/var/lib/doorbell/mail/new"
FIRST_VERDICT_SECONDS = 90
"""What is promised to whoever tries it, on a machine of two processors."""
RUNS_ONCE = {"definitions", "migrate"}


def test_the_first_verdict_is_soon_there(
    brought_up: BroughtUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """From `up`, with the images built, over the tenant and its key, to the first login's verdict."""
    with capsys.disabled():
        print(f"\nup to the first verdict: {brought_up.seconds:.0f} s")
    assert brought_up.seconds < FIRST_VERDICT_SECONDS


def test_a_login_ends_done_with_a_verdict(application: Application) -> None:
    """Each planned step runs in its pool's container, and the workflow ends done."""
    workflow = application.wait_for_end(application.report(user_id=new_user(), user_agent=FIREFOX))

    assert workflow["state"] == "done"
    assert workflow["verdict"]["level"] in ("low", "medium", "high")
    assert {step["task"] for step in workflow["steps"] if step["state"] == "done"} >= STEPS


def test_a_new_device_is_told_by_mail_once(application: Application, stack: Stack) -> None:
    """The second device of a user causes exactly one mail in the catcher's volume."""
    user = new_user()
    email = f"{user}@example.org"
    for agent in (FIREFOX, IPHONE):
        workflow_id = application.report(user_id=user, user_agent=agent, email=email)
        assert application.wait_for_end(workflow_id)["state"] == "done"

    wait_until(lambda: mails_to(stack, email) >= 1, 30, "the mail about the new device")
    assert mails_to(stack, email) == 1


@pytest.mark.parametrize("pool", ["device_checks", "external_api"])
def test_a_login_during_a_restart_ends_done(
    application: Application, stack: Stack, pool: str
) -> None:
    """A worker that is stopped in order gives back what it holds; its next life does it."""
    workflows = [application.report(user_id=new_user(), user_agent=FIREFOX) for _ in range(20)]
    stack.compose("restart", f"worker-{pool}")
    workflows.append(application.report(user_id=new_user(), user_agent=FIREFOX))

    assert {application.wait_for_end(each)["state"] for each in workflows} == {"done"}


def test_a_killed_worker_comes_back(application: Application, stack: Stack) -> None:
    """The engine starts a worker again that was killed, and what was reported meanwhile is done."""
    before = only(stack, "worker-db_writes")
    stack.docker("exec", "--detach", before["Id"], "sh", "-c", "kill -9 -1")

    workflow_id = application.report(user_id=new_user(), user_agent=FIREFOX)

    assert application.wait_for_end(workflow_id)["state"] == "done"
    wait_until(
        lambda: only(stack, "worker-db_writes")["RestartCount"] > before["RestartCount"],
        30,
        "the restart",
    )


def test_a_broker_that_starts_again_keeps_what_it_held(
    application: Application, stack: Stack
) -> None:
    """Logins that are accepted while the broker is away are done when it is back."""
    stack.compose("stop", "rabbitmq")
    workflows = [application.report(user_id=new_user(), user_agent=FIREFOX) for _ in range(5)]
    stack.compose("start", "rabbitmq")

    ended = {application.wait_for_end(each, seconds=120)["state"] for each in workflows}
    assert ended == {"done"}
    wait_until(lambda: not unhealthy(stack), 120, "every container to be healthy")


def test_a_pool_is_scaled(application: Application, stack: Stack) -> None:
    """More containers of a pool share its queue, stay at the next `up`, and go again."""
    service = "worker-device_checks"
    scaled = replace(stack, environment={**stack.environment, "DEVICE_CHECKS_PROCESSES": "2"})
    scaled.up("--no-recreate")
    wait_until(lambda: not unhealthy(stack), 60, "both workers to be healthy")
    assert len(stack.containers(service)) == 2

    workflow_id = application.report(user_id=new_user(), user_agent=FIREFOX)

    assert application.wait_for_end(workflow_id)["state"] == "done"
    wait_until(lambda: scraped(stack).count("device_checks") == 2, 60, "Prometheus to find both")
    both = {container["Id"] for container in stack.containers(service)}
    scaled.up()
    assert {container["Id"] for container in stack.containers(service)} == both
    stack.up("--no-recreate")
    assert len(stack.containers(service)) == 1


def test_up_again_changes_nothing(stack: Stack) -> None:
    """A second `up` leaves every container alone; what runs once runs once more, and well."""
    before = started(stack)

    stack.up()

    assert started(stack) == before
    # An earlier test may just have restarted a worker.
    wait_until(lambda: not unhealthy(stack), 60, "every container to be healthy")


def test_nothing_runs_as_root(stack: Stack) -> None:
    """No process of any container has the rights of root."""
    running = [c for c in stack.containers() if c["State"]["Running"]]

    rows = {service_of(c): stack.docker("top", c["Id"], "-eo", "pid,uid") for c in running}
    users = {name: {row.split()[1] for row in text.splitlines()[1:]} for name, text in rows.items()}
    assert {name for name, uids in users.items() if not uids or "0" in uids} == set()


def test_no_process_is_the_databases_superuser(stack: Stack) -> None:
    """The role of Doorbell's processes owns its database, and can neither run programs nor make roles."""
    ask = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'doorbell'"
    told = stack.compose("exec", "-T", "postgres", "psql", "-U", "doorbell", "-tAc", ask)
    assert told.strip() == "f"


def test_only_the_doors_are_on_the_host(stack: Stack) -> None:
    """Nothing is reachable from the host but what is published, on loopback."""
    bindings = [
        binding
        for container in stack.containers()
        for ports in container["NetworkSettings"]["Ports"].values()
        for binding in ports or ()
    ]

    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    assert {int(binding["HostPort"]) for binding in bindings} == set(stack.ports.values())
    assert len(PUBLISHED) == len(bindings)


def test_no_secret_is_seen_from_outside(stack: Stack) -> None:
    """Neither a container's description nor a log holds a password."""
    secrets = {
        re.sub(r"^\w+:(?=[\w-]{32}$)", "", path.read_text().strip())
        for path in stack.secrets.rglob("*")
        # As it is made, the mail server's address is the catcher's, without a password.
        if path.is_file() and path.name != "smtp_url"
    }
    seen = str(stack.containers()) + stack.compose("logs", "--no-color")

    assert len(secrets) > 10
    assert [secret for secret in secrets if secret in seen] == []


def test_prometheus_reaches_everything(stack: Stack) -> None:
    """Each process that has metrics is scraped, each pool among them."""

    def targets() -> list[dict[str, Any]]:
        answer = requests.get(f"{stack.url('PROMETHEUS_PORT')}/api/v1/targets", timeout=10)
        found: list[dict[str, Any]] = answer.json()["data"]["activeTargets"]
        return found

    def unreached() -> list[str]:
        return [target["scrapeUrl"] for target in targets() if target["health"] != "up"]

    wait_until(lambda: not unreached(), 60, "all targets to be up")
    assert {target["labels"].get("pool") for target in targets()} >= set(load().pools)


def scraped(stack: Stack) -> list[str]:
    """The pool of each worker that Prometheus reaches."""
    answer = requests.get(f"{stack.url('PROMETHEUS_PORT')}/api/v1/targets", timeout=10).json()
    active = [each for each in answer["data"]["activeTargets"] if each["health"] == "up"]
    return [each["labels"]["pool"] for each in active if each["labels"]["job"] == "workers"]


def test_flower_wants_its_password(stack: Stack, flower_auth: tuple[str, str]) -> None:
    """Without it Flower shows nothing; with it, the workers."""
    tasks = f"{stack.url('FLOWER_PORT')}/api/tasks"

    assert requests.get(tasks, timeout=10).status_code == 401
    assert requests.get(tasks, auth=flower_auth, timeout=10).status_code == 200


def test_viewers_change_nothing_in_flower(stack: Stack) -> None:
    """Their Flower shows the same to a user of its own, and refuses to shut a worker down."""
    address = stack.url("FLOWER_VIEWERS_PORT")
    user, _, password = (stack.secrets / "flower_viewers_auth").read_text().strip().partition(":")
    auth = (user, password)

    assert requests.get(f"{address}/api/tasks", timeout=10).status_code == 401
    assert requests.get(f"{address}/api/tasks", auth=auth, timeout=10).status_code == 200
    shutdown = requests.post(f"{address}/api/worker/shutdown/any", auth=auth, timeout=10)
    assert shutdown.status_code == 403


def test_the_doctor_looks_at_everything(stack: Stack) -> None:
    """The command that runbooks begin with knows every address; mails go where a secret says, which it has not."""
    findings = json.loads(stack.doorbell("doctor", "--json"))
    verdicts = {each["what"]: each["verdict"] for each in findings}
    assert {what: verdict for what, verdict in verdicts.items() if verdict != "ok"} == {
        "mail server": "skipped"
    }
    assert verdicts.keys() >= {
        "broker's topology",
        "dead letters",
        "workers",
        "outlier API",
        "gateway",
    }


def test_an_unknown_role_ends_the_container(stack: Stack) -> None:
    """The image says which roles there are, and does not stay up."""
    with pytest.raises(AssertionError, match="'watcher' is no role"):
        stack.docker("run", "--rm", only(stack, "gateway")["Image"], "watcher")


def only(stack: Stack, service: str) -> dict[str, Any]:
    """The container of a service that has one."""
    [container] = stack.containers(service)
    return container


def started(stack: Stack) -> dict[str, str]:
    """Since when each container runs that runs on."""
    return {
        service_of(container): container["State"]["StartedAt"]
        for container in stack.containers()
        if service_of(container) not in RUNS_ONCE
    }


def mails_to(stack: Stack, address: str) -> int:
    script = f"grep -l '^To:.*{address}' {MAILS}/* || true"
    return len(stack.compose("exec", "-T", "mail", "sh", "-c", script).split())
