"""Waiting for what happens elsewhere: polling with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], seconds: float, what: object) -> None:
    """Return as soon as it is so; fail when it is not in time, with the text that `what` has then."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)
