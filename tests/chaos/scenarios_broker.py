"""Scenarios in which the broker dies, restarts, closes connections and blocks publishers."""

from __future__ import annotations

from tests.chaos import faults
from tests.chaos.scenario import Run, scenario

_ALARM_SECONDS = 10.0
_SUSPENDED_SECONDS = 12.0
_ANSWER_SECONDS = 5.0
"""The gateway's own limit for a statement: publishing is never part of an answer."""


@scenario("stop-broker", rate=15, answers_within=_ANSWER_SECONDS)
def stop_broker(run: Run) -> None:
    """The broker is shut down and started again."""
    run.until_sent(0.3)
    faults.restart_broker(run, is_killed=False)


@scenario("kill-broker", rate=15, answers_within=_ANSWER_SECONDS)
def kill_broker(run: Run) -> None:
    """The broker is killed and started again."""
    run.until_sent(0.3)
    faults.restart_broker(run, is_killed=True)


@scenario("suspend-broker", rate=15, answers_within=_ANSWER_SECONDS)
def suspend_broker(run: Run) -> None:
    """The broker stands still for longer than a publisher waits for its confirm, and goes on."""
    run.until_sent(0.2)
    with faults.suspended_broker(run.rig):
        run.pause(_SUSPENDED_SECONDS)


@scenario("close-connections")
def close_connections(run: Run) -> None:
    """The broker closes all connections, several times."""
    for _ in run.while_sending(every=2.0, until=0.8):
        faults.close_connections(run)
    run.back("rabbitmq")


@scenario("memory-alarm", rate=15, answers_within=_ANSWER_SECONDS)
def memory_alarm(run: Run) -> None:
    """The broker's memory alarm blocks publishers; the gateway goes on accepting."""
    run.until_sent(0.1)
    with faults.memory_alarm(run):
        run.pause(_ALARM_SECONDS)


@scenario("disk-alarm", rate=15, answers_within=_ANSWER_SECONDS)
def disk_alarm(run: Run) -> None:
    """The broker's disk alarm blocks publishers; the gateway goes on accepting."""
    run.until_sent(0.1)
    with faults.disk_alarm(run):
        run.pause(_ALARM_SECONDS)
