"""Alerts on hosts: told, mended by the page's commands for hosts exactly as written, where it says, and over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.logins import Logins
from tests.gamedays import table
from tests.gamedays.day import hold
from tests.gamedays.inbox import Inbox
from tests.hosts.faults import HOST_DAYS
from tests.hosts.grounds import SETTINGS, Hosted, group

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


@pytest.mark.parametrize("alert", HOST_DAYS)
def test_game_day(alert: str, ground: Hosted, box: Inbox, pytestconfig: pytest.Config) -> None:
    """As on the local cluster."""
    row = hold(alert, ground, box, HOST_DAYS)
    print(row.line())
    if pytestconfig.getoption("--hosts-table"):
        table.write([row], "hosts")
