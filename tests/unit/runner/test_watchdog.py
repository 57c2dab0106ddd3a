"""What the watchdog says of work that it should have ended long ago."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from services.runner.watchdog import FAILED_SECONDS, Watchdog

HARD = 30.0


def _watchdog(
    busy_seconds: float | None, overdue: Callable[[float], str | None] = lambda _: None
) -> Watchdog:
    since = None if busy_seconds is None else monotonic() - busy_seconds
    executor: Any = SimpleNamespace(busy_since=since, limits=(20.0, HARD))
    return Watchdog(lambda: [executor], overdue, lambda _: None)


@pytest.mark.parametrize(
    ("busy_seconds", "is_trouble"),
    [
        (None, False),
        (10, False),
        # The process is being ended at this moment.
        (HARD + 1, False),
        (HARD + FAILED_SECONDS + 1, True),
    ],
)
def test_a_list_of_steps(busy_seconds: float | None, is_trouble: bool) -> None:
    """Past its hard limit is the watchdog's own business; far past it, it has failed."""
    assert (_watchdog(busy_seconds).trouble() is not None) is is_trouble


def test_a_call() -> None:
    """The same for a call of the I/O style, with the same margin."""
    asked: list[float] = []

    def overdue(margin: float) -> str:
        asked.append(margin)
        return "7"

    assert _watchdog(None, overdue).trouble() == "step 7 is far past its hard limit"
    assert asked == [FAILED_SECONDS]
