"""Three brokers behind a load balancer: one may die, another may be cut off, and work goes on."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing.load import load as load_topology
from tests.chaos.evidence import Ledger
from tests.chaos.load import Load
from tests.chaos.oracle import tell_steps
from tests.chaos.table import Result, head_line, line
from tests.compose.machines import Machines
from tests.compose.stack import PUBLISHED, ROOT, Stack, free_ports
from tests.compose.surroundings import Surroundings, surroundings
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

LOGINS = 400
RATE = 6.0
AWAY_SECONDS = 20.0
END_SECONDS = 15.0
"""In which every login ends, whichever broker is away: the issue's number."""


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surroundings]:
    """The fleet on three brokers, which calls what this process notes."""
    program = request.config.getoption("--compose", default=None)
    if program is None:
        pytest.skip("needs a container engine and Compose: tests/compose/run")
    secrets = tmp_path_factory.mktemp("cluster") / "private"
    subprocess.run([ROOT / "deploy" / "docker" / "secrets", secrets], check=True)
    project = f"doorbell-test-{uuid.uuid4().hex[:8]}"
    files = ("docker-compose.cluster.yml",)
    stack = Stack(program, project, secrets, free_ports(PUBLISHED), files)
    try:
        stack.up("--build")
        wait_until(lambda: not stack.unhealthy(), 120, "every container to be healthy")
        stack.doorbell("tenant", "create", "shop", "The Shop")
        key = stack.doorbell("key", "create", "shop")
        with surroundings(stack, key, broker="rabbitmq-2") as fleet:
            yield fleet
    finally:
        print(stack.compose("logs", "--no-color", "--tail", "400"))
        stack.remove()


def lose_brokers(machines: Machines, load: Load) -> None:
    """One broker is killed and comes back; then another is cut off and comes back."""
    time.sleep(AWAY_SECONDS / 4)
    machines.kill("rabbitmq", AWAY_SECONDS)
    machines.wait_until_healthy()
    with machines.parted("rabbitmq-3"):
        time.sleep(AWAY_SECONDS)


def test_every_queue_has_a_member_on_each_broker(fleet: Surroundings) -> None:
    """However the three found each other, no queue depends on one or two of them."""
    names = {"rabbit@rabbitmq-1", "rabbit@rabbitmq-2", "rabbit@rabbitmq-3"}
    members = {
        queue["name"]: set(queue["members"])
        for queue in ask(fleet.stack)
        if queue["type"] == "quorum"
    }

    assert set(load_topology().queues) <= members.keys()
    assert {name for name in members if members[name] != names} == set()


def test_a_broker_less_loses_nothing_and_holds_nothing_up(
    fleet: Surroundings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each login ends soon, whether a broker is being killed, cut off, or coming back."""
    began = time.monotonic()
    found, evidence = fleet.run(lose_brokers, tmp_path, seed=1, logins=LOGINS, rate=RATE)
    result = Result("compose-cluster", 1, found, time.monotonic() - began)
    ledger = Ledger(evidence)
    slowest, workflow = slowest_end(ledger)

    with capsys.disabled():
        print("", head_line(), line(result), f"slowest end: {slowest:.1f} s", sep="\n")
    assert found.is_well, found.explain()
    assert found.held_off == 0
    assert slowest < END_SECONDS, "\n".join(tell_steps(ledger, [workflow]))


def slowest_end(ledger: Ledger) -> tuple[float, str]:
    """The longest time from a login's 202 to its workflow's end, and which workflow took it."""
    spans = {w["id"]: w["finished_at"] - w["accepted_at"] for w in ledger.workflows}
    slowest = max(spans, key=spans.__getitem__)
    return spans[slowest].total_seconds(), slowest


def ask(stack: Stack) -> list[dict[str, Any]]:
    """The queues, as a broker's management interface knows them."""
    answer = httpx.get(
        f"http://{stack.address('rabbitmq-2')}:15672/api/queues/{load_topology().vhost}",
        auth=("operator", stack.secret("broker/operator")),
        trust_env=False,
    )
    answer.raise_for_status()
    queues: list[dict[str, Any]] = answer.json()
    return queues
