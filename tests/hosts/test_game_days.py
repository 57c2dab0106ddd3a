"""Alerts on hosts: told, mended by the page's commands for hosts exactly as written, where it says, and over."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.logins import Logins
from tests.e2e.waiting import wait_until
from tests.gamedays import table
from tests.gamedays.day import hold
from tests.gamedays.grounds import TRY_OUT
from tests.gamedays.inbox import Inbox
from tests.hosts.faults import HOST_DAYS
from tests.hosts.grounds import SETTINGS, Hosted, group

SLOW = ("BackupTooOld", "FlowerBlind", "HeldTooLong", "HostDiskSoonFull", "WalNotFetched")
"""Told after minutes, as they are of no haste, and about what disturbs none of the others."""

_CALM_SECONDS = 1200.0

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module", autouse=True)
def logins(ground: Hosted) -> Iterator[None]:
    """They are scored by the outlier API of the fleet, which pages are about, and come in all the time."""
    controller = ground.installation.controller
    [api] = group("outlier_apis")
    controller.set(dict(SETTINGS) | {"doorbell_outlier_api_url": f"http://{api}:8010"})
    controller.play("site", "--limit=pool_external_api:monitoring", "--tags=doorbell,monitoring")
    with Logins(ground.endpoints, ca=str(controller.trusted)):
        yield


@pytest.fixture(scope="module")
def beside(
    request: pytest.FixtureRequest, ground: Hosted, box: Inbox, logins: None
) -> Iterator[dict[str, Future[table.Row]]]:
    """The slow ones of those that are wanted, which are held beside the others."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {spec.params.get("alert") for spec in callspecs if spec} & set(SLOW)
    wait_until(ground.is_calm, _CALM_SECONDS, "all to be calm before")
    with ThreadPoolExecutor(len(SLOW)) as pool:
        everything = (*HOST_DAYS, TRY_OUT)
        yield {
            alert: pool.submit(hold, alert, ground, box, HOST_DAYS, everything) for alert in wanted
        }


@pytest.mark.parametrize("alert", [*(a for a in HOST_DAYS if a not in SLOW), *SLOW])
def test_game_day(
    alert: str,
    ground: Hosted,
    box: Inbox,
    beside: dict[str, Future[table.Row]],
    pytestconfig: pytest.Config,
) -> None:
    """As on the local cluster."""
    held = beside.get(alert)
    row = held.result() if held else hold(alert, ground, box, HOST_DAYS, SLOW)
    print(row.line())
    if pytestconfig.getoption("--hosts-table"):
        table.write([row], "hosts")
