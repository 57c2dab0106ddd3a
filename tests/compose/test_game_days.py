"""Alerts in containers: told, mended by the page's commands for containers exactly as written, and over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.grounds import Composed
from tests.compose.stack import Stack
from tests.e2e.logins import Logins
from tests.gamedays import table
from tests.gamedays.day import hold
from tests.gamedays.inbox import Inbox, inbox

pytestmark = pytest.mark.timeout(3600)

ALERTS = (
    "AlertsNotDelivered",
    "BeatSilent",
    "BreakerOpen",
    "BrokerAlarm",
    "BrokerDown",
    "CanarySilent",
    "DatabaseDown",
    "GatewayDown",
    "HeldTooLong",
    "LedgerNotMeasured",
    "LoginsNotAccepted",
    "NoticesNotGoingOut",
    "QueueWithoutConsumer",
    "StandbyMissing",
    "VerdictsLate",
    "CommitsUnprotected",
    "FlowerBlind",
    "TargetDown",
    "QueueStandsStill",
)
"""Those that have the same fault as on the local cluster; the last leaves repairs behind that have to be waited for."""


@pytest.fixture(scope="module")
def box(stack: Stack) -> Iterator[Inbox]:
    """Whom Alertmanager tells."""
    with inbox(stack.gateway_address()) as found:
        yield found


@pytest.fixture(scope="module")
def ground(
    stack: Stack, api_key: str, box: Inbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    """The project, under logins."""
    found = Composed(stack, api_key, box, tmp_path_factory.mktemp("gamedays"))
    with Logins(found.endpoints):
        yield found


@pytest.mark.parametrize("alert", ALERTS)
def test_game_day(alert: str, ground: Composed, box: Inbox, pytestconfig: pytest.Config) -> None:
    """As on the local cluster."""
    row = hold(alert, ground, box)
    print(row.line())
    if pytestconfig.getoption("--game-days-table"):
        table.write([row], "containers")
