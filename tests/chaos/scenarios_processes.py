"""Scenarios in which the product's own processes die, stop and are deployed."""

from __future__ import annotations

import time

from services.celery_app import HEARTBEAT_SECONDS
from tests.chaos import faults
from tests.chaos.rig import POOLS
from tests.chaos.scenario import Run, scenario

SUSPENDED_SECONDS = 4.0 * HEARTBEAT_SECONDS
"""After three heartbeats the broker has given the process up."""

_STATISTICS_SECONDS = 15.0
"""The broker takes its statistics every five seconds."""

_POLL_SECONDS = 0.5


@scenario("kill-pool-processes")
def kill_pool_processes(run: Run) -> None:
    """A random worker process is killed again and again."""
    for _ in run.while_sending(every=1.0):
        run.supervisor.kill(run.any_worker())


@scenario("kill-whole-pools")
def kill_whole_pools(run: Run) -> None:
    """All processes of one pool after the other are killed at the same moment."""
    for count in run.while_sending(every=2.5):
        for name in run.supervisor.of_pool(POOLS[count % len(POOLS)]):
            run.supervisor.kill(name)


@scenario("suspend-pool-processes", rate=8)
def suspend_pool_processes(run: Run) -> None:
    """One process of each pool is stopped for more than two heartbeats, and goes on as if nothing was."""
    run.until_sent(0.2)
    chosen = [run.dice.choice(run.supervisor.of_pool(pool)) for pool in POOLS]
    for name in chosen:
        run.supervisor.suspend(name)
    run.pause(SUSPENDED_SECONDS)
    for name in chosen:
        run.supervisor.resume(name)


@scenario("kill-gateway")
def kill_gateway(run: Run) -> None:
    """The gateway is killed in the middle of posts; its callers ask again under the same event_id."""
    for _ in run.while_sending(every=3.0):
        run.supervisor.kill("gateway")


@scenario("kill-beat")
def kill_beat(run: Run) -> None:
    """Whoever starts the relay is killed, and processes with messages to relay as well."""
    for count in run.while_sending(every=1.5):
        run.supervisor.kill("beat" if count % 2 else "maintenance")


@scenario("kill-at-failpoints")
def kill_at_failpoints(run: Run) -> None:
    """Processes die between handler and ack, wherever the dice say."""
    for _ in run.while_sending(every=0.5, until=0.95):
        faults.arm_any(run)
    run.rig.disarm_all()


def _nothing_done_came_again(run: Run) -> list[str]:
    """Once the broker's statistics have caught up with the ledger, or should have."""
    deadline = time.monotonic() + _STATISTICS_SECONDS
    while (again := _came_again(run)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return [
        f"{count} messages of done steps were delivered again in queue {name}"
        for name, count in again.items()
        # What stays below 0 the statistics have lost, with a channel that ended before they were taken.
        if count > 0
    ]


def _came_again(run: Run) -> dict[str, int]:
    now = run.rig.redelivered_when_done()
    counts = {name: count - run.kept.get(name, 0) for name, count in now.items()}
    return {name: count for name, count in counts.items() if count}


@scenario("deploy", rate=12, check=_nothing_done_came_again)
def deploy(run: Run) -> None:
    """Every process gets SIGTERM and is replaced, in two waves; nothing that was done is delivered again."""
    run.kept |= run.rig.redelivered_when_done()
    run.until_sent(0.1)
    for wave in (0, 1):
        names = [run.supervisor.of_pool(pool)[wave] for pool in POOLS]
        run.supervisor.stop(*names, *(("gateway",) if wave else ("beat",)))
        run.rig.wait_until_up()
