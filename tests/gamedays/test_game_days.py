"""Every alert: the fault, the page, the runbook's commands exactly as written, its Verify, and the all-clear."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.logins import Logins
from tests.gamedays import table
from tests.gamedays.day import hold
from tests.gamedays.faults import GAME_DAYS
from tests.gamedays.grounds import Grounds
from tests.gamedays.inbox import Inbox

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module", autouse=True)
def logins(ground: Grounds) -> Iterator[None]:
    """A game day is not a quiet one: logins come in."""
    with Logins(ground.endpoints):
        yield


@pytest.mark.parametrize("alert", GAME_DAYS)
def test_game_day(alert: str, ground: Grounds, box: Inbox, writes_table: bool) -> None:
    """Told in time, mended by its page within five minutes, and over."""
    row = hold(alert, ground, box)
    print(row.line())
    if writes_table:
        table.write([row])
