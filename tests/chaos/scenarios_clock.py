"""Scenarios in which the product's own clocks are wrong."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

from tests.chaos import detours, faults
from tests.chaos.scenario import Run, scenario
from tests.support.faults.clock import LAG_SECONDS

_HOUR = 3600
_AWAY_SECONDS = 3.0
_RELAYED_SECONDS = 6.0
"""Older messages have met the relay, which beat starts every other second."""

_TOLERANCE_SECONDS = 60


def _the_relay_went_on_by_a_wrong_clock(run: Run) -> list[str]:
    """Both were so: a clock was an hour off, and what only the relay could send was sent meanwhile."""
    found, problems = run.kept["seconds"], []
    if abs(abs(found) - _HOUR) > _TOLERANCE_SECONDS:
        problems.append(f"the gateway's clock was {found} s ahead, not an hour off")
    if not run.kept["unpublished"]:
        problems.append("the relay had nothing to send while the broker was away")
    if run.kept["left"]:
        problems.append(f"the relay left {run.kept['left']} messages after a jump")
    return problems


@scenario("clock-ahead", rate=4, check=_the_relay_went_on_by_a_wrong_clock)
def clock_ahead(run: Run) -> None:
    """The clocks of workers, gateway and beat jump an hour ahead, and back again."""
    _jump(run, _HOUR)


@scenario("clock-behind", rate=4, check=_the_relay_went_on_by_a_wrong_clock)
def clock_behind(run: Run) -> None:
    """The clocks of workers, gateway and beat fall an hour behind, and are put right again."""
    _jump(run, -_HOUR)


def _jump(run: Run, seconds: int) -> None:
    run.kept |= {"unpublished": 0, "left": 0}
    with detours.on_a_clock(run) as clock:
        with clock.jumped(seconds):
            run.pause(LAG_SECONDS)
            _leave_work_to_the_relay(run)
            run.kept["seconds"] = _ahead(run)
        run.pause(LAG_SECONDS)
        _leave_work_to_the_relay(run)


def _leave_work_to_the_relay(run: Run) -> None:
    """What was accepted while the broker was away is published by what beat starts, and by nobody else."""
    run.supervisor.note("stop", "rabbitmq")
    run.rig.node.stop()
    run.pause(_AWAY_SECONDS)
    run.kept["unpublished"] += run.rig.execute("unpublished", older=0.0)
    run.rig.node.start()
    run.back("rabbitmq")
    faults.for_a_moment(lambda: not run.rig.execute("unpublished", older=_RELAYED_SECONDS), 20.0)
    run.kept["left"] += run.rig.execute("unpublished", older=_RELAYED_SECONDS)


def _ahead(run: Run) -> int:
    """By how much the gateway's clock is ahead of ours."""
    answer = httpx.get(f"{run.rig.gateway_url}/healthz", timeout=10, trust_env=False)
    return round(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time())
