"""A real Alertmanager tells of one fault once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.fleet import wait_until
from tests.support.ports import free_port

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES: dict[str, dict[str, str]] = {
    rule["alert"]: {"alertname": rule["alert"], **rule["labels"]}
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
LATE = ("VerdictsLate", "NoticesNotGoingOut", "WorkStuck")
OF_QUEUES = ("QueueWithoutConsumer", "QueueStandsStill", "QueueWillNotClear")
WITHOUT_BROKER = (*LATE, *OF_QUEUES, "BeatSilent", "LedgerNotMeasured", "FlowerBlind")
WITHOUT_DATABASE = (*LATE, *OF_QUEUES, "BeatSilent", "LedgerNotMeasured", "LoginsNotAccepted")

Labels = dict[str, str]


def alerts(*names: str) -> list[Labels]:
    return [RULES[name] for name in names]


def down(job: str, **labels: str) -> Labels:
    return {**RULES["TargetDown"], "job": job, "instance": f"{job}:1", **labels}


class Alertmanager:
    """The program, with the repository's configuration."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def take(self, firing: list[Labels], **annotations: str) -> None:
        """Tell it of alerts, as Prometheus does."""
        body = [{"labels": labels, "annotations": annotations} for labels in firing]
        httpx.post(f"{self._url}/api/v2/alerts", json=body, trust_env=False).raise_for_status()

    def tells(self, firing: list[Labels], expected: set[str]) -> None:
        """Of these alerts, just the expected ones would be told; it takes in the others in its own time."""
        self.take(firing)
        seen = [len(firing), *sorted(expected)]
        wait_until(lambda: self._active() == seen, 10, f"to be told of {seen[1:]}")

    def _active(self) -> list[int | str]:
        known: list[dict[str, Any]] = httpx.get(
            f"{self._url}/api/v2/alerts", trust_env=False
        ).json()
        active = {
            alert["labels"]["alertname"] for alert in known if alert["status"]["state"] == "active"
        }
        return [len(known), *sorted(active)]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    with serving(DEPLOY / "alertmanager" / "alertmanager.yml", tmp_path) as found:
        yield found


@contextmanager
def serving(configuration: Path, directory: Path) -> Iterator[Alertmanager]:
    """Alertmanager with a configuration; it keeps its state in a directory."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        reason = "Alertmanager is missing: install the package prometheus-alertmanager"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={configuration}",
        f"--storage.path={directory}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            found = Alertmanager(f"http://{address}")
            wait_until(found.is_ready)
            yield found
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("cause", "effects"),
    [
        ("BrokerDown", [*alerts(*WITHOUT_BROKER), down("rabbitmq"), down("rabbitmq_queues")]),
        ("BrokerQuorumLost", [*alerts(*WITHOUT_BROKER), down("rabbitmq"), down("rabbitmq_queues")]),
        ("BrokerAlarm", alerts(*LATE, "BeatSilent", "LedgerNotMeasured")),
        ("DatabaseDown", alerts(*WITHOUT_DATABASE)),
        ("StandbyMissing", alerts(*LATE, "QueueStandsStill", "LoginsNotAccepted")),
        ("BeatSilent", [*alerts("LedgerNotMeasured"), down("beat")]),
        ("GatewayDown", [down("gateway")]),
        ("DoorClosed", [down("door")]),
        ("QueueStandsStill", alerts("CanarySilent", "VerdictsLate", "WorkStuck")),
    ],
)
def test_one_fault_is_one_page(
    alertmanager: Alertmanager, cause: str, effects: list[Labels]
) -> None:
    """Whatever is true because of it is kept back."""
    alertmanager.tells([RULES[cause], *effects], {cause})


def test_without_the_cause_each_is_told(alertmanager: Alertmanager) -> None:
    """The control: what is kept back above is told when nothing else explains it."""
    names = {*WITHOUT_BROKER, *WITHOUT_DATABASE} - {*OF_QUEUES, "BeatSilent"}
    alertmanager.tells([*alerts(*names), down("rabbitmq"), down("beat")], {*names, "TargetDown"})


def test_a_dead_pool_hides_its_own_processes(alertmanager: Alertmanager) -> None:
    """And that its queue does not clear."""
    dead = RULES["QueueWithoutConsumer"]
    own = [RULES["QueueWillNotClear"], down("workers", pool=dead["pool"])]
    alertmanager.tells([dead, *own], {"QueueWithoutConsumer"})


def test_a_dead_pool_hides_no_other(alertmanager: Alertmanager) -> None:
    """That another pool's process is down as well is news."""
    other = down("workers", pool="another")
    alertmanager.tells(
        [RULES["QueueWithoutConsumer"], other], {"QueueWithoutConsumer", "TargetDown"}
    )


@pytest.mark.parametrize(("pool", "is_told"), [("notifications", False), ("db_writes", True)])
def test_a_dead_pool_of_notices_hides_that_they_do_not_go_out(
    alertmanager: Alertmanager, pool: str, is_told: bool
) -> None:
    """No other pool is a reason for that: notices go out without a verdict."""
    dead = {**RULES["QueueWithoutConsumer"], "queue": pool, "pool": pool}
    late = {"NoticesNotGoingOut"} if is_told else set()
    alertmanager.tells(
        [dead, *alerts("NoticesNotGoingOut", "CanarySilent", "VerdictsLate")],
        {"QueueWithoutConsumer", *late},
    )


def test_the_brokers_alarm_hides_nothing_that_it_is_no_cause_of(alertmanager: Alertmanager) -> None:
    """It keeps messages from coming in. Who consumes stays, and what is given up has another reason."""
    others = ("QueueWithoutConsumer", "DeadLettersArriving", "WorkGivenUp")
    alertmanager.tells(alerts("BrokerAlarm", *others), {"BrokerAlarm", *others})
