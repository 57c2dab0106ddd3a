"""Scenarios in which the product's own clocks are wrong."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

from tests.chaos import detours
from tests.chaos.scenario import Run, scenario

_HOUR = 3600
_WRONG_SECONDS = 12.0
_TOLERANCE_SECONDS = 60


def _the_gateway_was_wrong(run: Run) -> list[str]:
    found = run.kept["seconds"]
    is_wrong = abs(abs(found) - _HOUR) < _TOLERANCE_SECONDS
    return [] if is_wrong else [f"the gateway's clock was {found} s ahead, not an hour off"]


@scenario("clock-ahead", rate=4, check=_the_gateway_was_wrong)
def clock_ahead(run: Run) -> None:
    """The clocks of workers, gateway and beat jump an hour ahead, and back again."""
    _jump(run, _HOUR)


@scenario("clock-behind", rate=4, check=_the_gateway_was_wrong)
def clock_behind(run: Run) -> None:
    """The clocks of workers, gateway and beat fall an hour behind, and are put right again."""
    _jump(run, -_HOUR)


def _jump(run: Run, seconds: int) -> None:
    with detours.on_a_clock(run) as clock:
        with clock.jumped(seconds):
            run.pause(_WRONG_SECONDS)
            run.kept["seconds"] = _ahead(run)
        run.pause(_WRONG_SECONDS)


def _ahead(run: Run) -> int:
    """By how much the gateway's clock is ahead of ours."""
    answer = httpx.get(f"{run.rig.gateway_url}/healthz", timeout=10, trust_env=False)
    return round(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time())
