"""How long a list may grow before it is run: longer while lists take longer, so that load makes a step cheaper."""

from __future__ import annotations

from math import exp
from time import monotonic

LEAST_SECONDS = 0.03
LONGEST_SECONDS = 0.5
"""After the end of a list: most of what a list costs does not depend on its length."""

ENOUGH = 32
"""So many steps wait no longer for others."""

EASY_SHARE = 1 / 3
"""Of its time that a pool may spend with lists before it lets them grow."""

_REMEMBERED_SECONDS = 1.0
"""The share is that of about the last second."""

_PAUSE_BY_LIST = 1 / EASY_SHARE - 1
"""The pause, by how long the list before took: lists fill that share of the time, until there is ENOUGH."""


class Pace:
    """When the next list may begin; the lone steps of a pool that has little to do need not wait.

    A pool whose machine is busy takes longer over each list, and its next lists gather more
    steps: its cost for each step falls when that matters, and stays a matter of milliseconds when it does not.
    """

    def __init__(self) -> None:
        self._gathers_until = 0.0
        self._busy = 0.0
        self._noted_at = monotonic()

    def note(self, began_at: float) -> None:
        """A list that began then, by the monotonic clock, has just ended."""
        now = monotonic()
        took = now - began_at
        self._busy = self._busy * exp((self._noted_at - now) / _REMEMBERED_SECONDS) + took
        self._noted_at = now
        if self._busy < EASY_SHARE * _REMEMBERED_SECONDS:
            return
        pause = _PAUSE_BY_LIST * took
        self._gathers_until = now + min(max(pause, LEAST_SECONDS), LONGEST_SECONDS)

    def seconds_left(self, gathered: int) -> float:
        """How long a list of so many steps may still wait for more."""
        if gathered >= ENOUGH:
            return 0.0
        return max(0.0, self._gathers_until - monotonic())
