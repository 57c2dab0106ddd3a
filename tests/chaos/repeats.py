"""Calls outside that happened more than once: which of them a disturbance excuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.supervisor import Disturbance

_CALL_SECONDS = 16.0
"""How long before it is noted as received a call can have begun: the longest deadline of a sender."""

_MARKING_SECONDS = 5.0
"""How long after broker or database are back a confirm can still be noted too late."""

SWALLOW = "swallow confirms"
"""What is noted of a process whose messages reach the broker, and none of the answers the process."""

_HARMLESS = frozenset({"back", "resume"})


@dataclass(slots=True)
class Repeats:
    """Repeated calls: how many a disturbance excuses, and a line for each that none does."""

    excused: int = 0
    unexcused: list[str] = field(default_factory=list)


def hits(
    disturbances: Sequence[Disturbance], pool: str, parts: Sequence[str]
) -> list[tuple[float, float]]:
    """From when to when something can interrupt a call between its start and the commit of its outcome.

    pool: whose processes make the calls. parts: what else the calls go through.
    """
    return [
        # Who is suspended in a call goes on with it when it is resumed.
        (d.at, _end_of(d, "resume", disturbances) if d.what == "suspend" else d.at)
        for d in disturbances
        if d.what not in _HARMLESS and (d.whom.partition(".")[0] == pool or d.whom in parts)
    ]


def copies(disturbances: Sequence[Disturbance], step: Mapping[str, Any]) -> int:
    """How many disturbances can have had a step's message published again.

    A publisher that gets no confirm, or cannot note it, leaves the message to the
    relay, although the broker may have it. So does one whose confirms are swallowed.
    """
    # A retry's row no longer says when its first message was ready.
    ready_at = 0.0 if step["retries"] else step["ready_at"]
    return sum(
        d.at <= step["finished_at"]
        and ready_at <= _end_of(d, "back", disturbances) + _MARKING_SECONDS
        for d in disturbances
        if d.what == SWALLOW or (d.whom in ("rabbitmq", "postgres") and d.what not in _HARMLESS)
    )


def _end_of(fault: Disturbance, end: str, disturbances: Sequence[Disturbance]) -> float:
    ends = [
        d.at for d in disturbances if d.what == end and d.whom == fault.whom and d.at >= fault.at
    ]
    return min(ends, default=fault.at)


def judge_repeats(
    what: str,
    key: str,
    times: Sequence[float],
    noted_at: float | None,
    spans: Sequence[tuple[float, float]],
) -> Repeats:
    """Judge the calls under one key.

    times: when each was received. noted_at: when the outcome was first committed;
    whatever happened later is no excuse, for then there was nothing left to repeat.
    """
    found = Repeats()
    window = [
        since
        for since, until in spans
        if times[0] - _CALL_SECONDS <= until and (noted_at is None or since <= noted_at)
    ]
    extra = len(times) - 1
    found.excused = min(extra, len(window))
    if extra > len(window):
        seconds = ", ".join(f"{at - times[0]:.1f}" for at in times[1:])
        noted = "never" if noted_at is None else f"{noted_at - times[0]:.1f}"
        hit = ", ".join(f"{since - times[0]:.1f}" for since, _ in spans) or "none"
        found.unexcused.append(
            f"{what} {key} happened {len(times)} times; {len(window)} disturbances hit its window:"
            f" again {seconds} s after the first, noted after {noted}, disturbed at {hit}"
        )
    return found
