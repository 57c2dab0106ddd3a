"""Measures how soon work went on after each disturbance."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.evidence import Evidence, Ledger, Row
from tests.chaos.findings import LIMITS, Findings
from tests.chaos.supervisor import Disturbance

_START_SECONDS = 5.0
"""From a process's end until the one that replaces it consumes, on a busy machine."""


def measure(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    steps = ledger.all_steps
    found.recovered = sum(
        step["state"] == "done" and bool(step["redeliveries"] or step["republished"])
        for step in steps
    )
    ended = [step["finished_at"] for step in steps if step["finished_at"] is not None]
    last = max((d.at for d in evidence.disturbances), default=None)
    if last is not None:
        found.quiet_seconds = max(0.0, max(ended, default=last) - last)
    for disturbance in evidence.disturbances:
        part, seconds = "", None
        if disturbance.what == "back" and disturbance.whom in LIMITS:
            part, seconds = disturbance.whom, _first_done(steps, disturbance.at)
        elif disturbance.what == "kill":
            part = _part_killed(evidence, disturbance)
            seconds = _taken_up(steps, disturbance.whom, disturbance.at)
        if seconds is not None:
            found.took[part] = max(found.took.get(part, 0.0), seconds)


def _part_killed(evidence: Evidence, kill: Disturbance) -> str:
    """A whole pool has to start first; a process alone has others beside it."""
    pool = kill.whom.partition(".")[0]
    others = [
        d
        for d in evidence.disturbances
        if d.whom.partition(".")[0] == pool and d.whom != kill.whom and d.what in ("kill", "end")
    ]
    return "pool" if any(abs(d.at - kill.at) < _START_SECONDS for d in others) else "process"


def _first_done(steps: Sequence[Row], since: float) -> float | None:
    """Until the first step that had waited was done."""
    waited = [
        step["finished_at"] - since
        for step in steps
        if step["state"] == "done" and (step["waits_since"] or since) < since < step["finished_at"]
    ]
    return min(waited, default=None)


def _taken_up(steps: Sequence[Row], process: str, since: float) -> float | None:
    """Until the first of the messages that the process had was worked on again."""
    pool = process.partition(".")[0]
    again = [
        step["started_at"] - since
        for step in steps
        if step["queue"] == pool
        and step["redeliveries"]
        and step["started_at"]
        and (step["waits_since"] or since) < since < step["started_at"]
    ]
    return min(again, default=None)
