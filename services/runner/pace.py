"""How long a list may grow before it is run: longer while lists take longer, so that load makes a step cheaper."""

from __future__ import annotations

from time import monotonic

LEAST_SECONDS = 0.03
LONGEST_SECONDS = 0.5
"""After the end of a list: most of what a list costs does not depend on its length."""

ENOUGH = 32
"""So many steps wait no longer for others."""

_PAUSE_BY_LIST = 2.0
"""The pause, by how long the list before took: the work of lists fills a third of the time, until there is ENOUGH."""


class Pace:
    """When the next list may begin; an idle pool's lone step need not wait.

    A pool whose machine is busy takes longer over each list, and its next lists gather more
    steps: its cost for each step falls when that matters, and stays a matter of milliseconds when it does not.
    """

    def __init__(self) -> None:
        self._gathers_until = 0.0

    def note(self, began_at: float) -> None:
        """A list that began then, by the monotonic clock, has just ended."""
        now = monotonic()
        pause = _PAUSE_BY_LIST * (now - began_at)
        self._gathers_until = now + min(max(pause, LEAST_SECONDS), LONGEST_SECONDS)

    def seconds_left(self, gathered: int) -> float:
        """How long a list of so many steps may still wait for more."""
        if gathered >= ENOUGH:
            return 0.0
        return max(0.0, self._gathers_until - monotonic())
