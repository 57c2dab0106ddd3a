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

WORTH_WAITING_FOR = 2.0
"""Steps to be expected within the pause, the one that would wait among them: for fewer it would mostly wait in vain."""

_KEPT = 0.8
"""Of what the lists before have shown of the rate, at each list."""

_LONGEST_GAP_SECONDS = 1.0
"""Between two ends of lists: an idle hour says no more of the rate than an idle second.

After a longer list the rate is overestimated, for which a step waits LONGEST_SECONDS at most.
"""


class Pace:
    """When the next list may begin; a step need not wait where few come.

    A pool whose machine is busy takes longer over each list, and its next lists gather more
    steps: its cost for each step falls when that matters, and stays a matter of milliseconds when it does not.
    """

    def __init__(self) -> None:
        self._gathers_until = 0.0
        # Long ago, however young the machine: nothing is known of the rate.
        self._ended_at = -_LONGEST_GAP_SECONDS
        self._steps = 0.0
        self._seconds = 0.0

    def note(self, began_at: float, steps: int) -> None:
        """A list of so many steps that began then, by the monotonic clock, has just ended."""
        now = monotonic()
        pause = min(max(_PAUSE_BY_LIST * (now - began_at), LEAST_SECONDS), LONGEST_SECONDS)
        self._steps = _KEPT * self._steps + steps
        self._seconds = _KEPT * self._seconds + min(now - self._ended_at, _LONGEST_GAP_SECONDS)
        self._ended_at = now
        is_worth_it = self._steps * pause >= WORTH_WAITING_FOR * self._seconds
        self._gathers_until = now + pause if is_worth_it else now

    def seconds_left(self, gathered: int) -> float:
        """How long a list of so many steps may still wait for more."""
        if gathered >= ENOUGH:
            return 0.0
        return max(0.0, self._gathers_until - monotonic())
