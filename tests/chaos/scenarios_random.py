"""Everything at once: what happens next is decided by the run's dice."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos import faults
from tests.chaos.scenario import Run, scenario

_OFTEN: tuple[Callable[[Run], object], ...] = (
    *[lambda run: run.supervisor.kill(run.any_worker())] * 4,
    *[faults.arm_any] * 4,
    lambda run: run.supervisor.kill("gateway"),
    lambda run: run.supervisor.kill("beat"),
    lambda run: faults.call_badly(run, run.rig.api, run.dice.choice(("reset", "error")), 1.0),
    lambda run: faults.call_badly(run, run.rig.webhooks, "error", 1.0),
    lambda run: faults.mail_badly(run, run.dice.choice(("reset", "later")), 1.0),
    faults.close_connections,
    faults.terminate_backends,
)
_SELDOM: tuple[Callable[[Run], object], ...] = (
    lambda run: faults.restart_broker(run, is_killed=True),
    lambda run: faults.restart_broker(run, is_killed=False),
    lambda run: faults.restart_database(run, is_killed=True, away_seconds=1.0),
    lambda run: faults.restart_database(run, is_killed=False, away_seconds=1.0),
)


@scenario("everything-at-random", rate=10, may_hold_off=True, api_may_fail=True)
def everything_at_random(run: Run) -> None:
    """Processes, broker, database and the world outside fail in any order."""
    seldom = run.dice.sample((0.2, 0.4, 0.6, 0.8), 2)
    for _ in run.while_sending(every=0.7):
        if seldom and run.load.share_sent > min(seldom):
            seldom.remove(min(seldom))
            run.dice.choice(_SELDOM)(run)
        else:
            run.dice.choice(_OFTEN)(run)
    run.rig.disarm_all()
