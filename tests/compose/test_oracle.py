"""Nothing accepted is lost and nothing happens twice while containers are stopped, killed, paused and cut off."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.load import Load
from tests.chaos.table import Result, head_line, line
from tests.compose.machines import Machines
from tests.compose.stack import Stack
from tests.compose.surroundings import Surroundings, surroundings

pytestmark = pytest.mark.timeout(600)

LOGINS = 240
RATE = 4.0
AWAY_SECONDS = 45.0
"""Longer than two heartbeats, and than the 25 s after which the ledger's connections give up."""

_SHORTLY_SECONDS = 5.0
_IN_TURN = (
    "worker-device_checks",
    "gateway",
    "rabbitmq",
    "worker-db_writes",
    "beat",
    "worker-notifications",
    "postgres",
    "worker-external_api",
    "worker-maintenance",
    "mail",
)


@pytest.fixture(scope="module")
def fleet(stack: Stack, api_key: str) -> Iterator[Surroundings]:
    """The session's fleet, which calls what this process notes."""
    with surroundings(stack, api_key) as fleet:
        yield fleet


def stop(machines: Machines, load: Load) -> None:
    """Each container in turn is stopped in order and started again."""
    for service in _while_sending(load):
        machines.restart(service)


def kill(machines: Machines, load: Load) -> None:
    """Each container in turn is killed and started again."""
    for service in _while_sending(load):
        machines.kill(service)


def pause_and_part(machines: Machines, load: Load) -> None:
    """Broker, gateway and database are away for a moment; then some pools stand still and others have no network."""
    for away in (
        machines.parted("rabbitmq"),
        machines.suspended("gateway"),
        machines.parted("postgres"),
        machines.suspended("rabbitmq"),
    ):
        with away:
            time.sleep(_SHORTLY_SECONDS)
    standing_still = machines.suspended("worker-device_checks", "worker-maintenance")
    cut_off = machines.parted("worker-notifications", "worker-external_api", "worker-db_writes")
    with standing_still, cut_off:
        time.sleep(AWAY_SECONDS)


def _while_sending(load: Load) -> Iterator[str]:
    for service in itertools.cycle(_IN_TURN):
        yield service
        if load.share_sent > 0.95:
            return


@pytest.mark.parametrize("disturb", [stop, kill, pause_and_part])
def test_nothing_is_lost_and_nothing_doubled(
    fleet: Surroundings,
    disturb: Callable[[Machines, Load], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Accepted is done and failed, and each effect is there once, judged as in tests/chaos."""
    began = time.monotonic()
    found, _ = fleet.run(
        disturb, tmp_path, seed=1, logins=LOGINS, rate=RATE, api_may_fail=disturb is pause_and_part
    )
    result = Result(f"compose-{disturb.__name__}", 1, found, time.monotonic() - began)

    with capsys.disabled():
        print("", head_line(), line(result), sep="\n")
    assert found.is_well, found.explain()
    # Work waited for both, and went on.
    assert found.took.keys() >= {"rabbitmq", "postgres"}
    # What is stopped in order ends what it has begun: of that nothing need be delivered or published again.
    assert found.recovered or disturb is stop
