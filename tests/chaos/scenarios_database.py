"""Scenarios in which PostgreSQL dies, restarts and cuts connections."""

from __future__ import annotations

from tests.chaos import faults
from tests.chaos.scenario import Run, scenario

_AWAY_SECONDS = 2.0


@scenario("stop-database", rate=15, may_hold_off=True)
def stop_database(run: Run) -> None:
    """PostgreSQL is shut down and started again."""
    run.until_sent(0.3)
    faults.restart_database(run, is_killed=False, away_seconds=_AWAY_SECONDS)


@scenario("kill-database", rate=15, may_hold_off=True)
def kill_database(run: Run) -> None:
    """PostgreSQL is killed with all its sessions and started again, twice."""
    for share in (0.2, 0.6):
        run.until_sent(share)
        faults.restart_database(run, is_killed=True, away_seconds=_AWAY_SECONDS)


@scenario("terminate-backends", may_hold_off=True)
def terminate_backends(run: Run) -> None:
    """PostgreSQL cuts all connections again and again."""
    for _ in run.while_sending(every=1.0, until=0.7):
        faults.terminate_backends(run)
    run.back("postgres")
