"""Python imports this at its start: sleeps by `select`, for libfaketime 0.9.10 breaks `clock_nanosleep`.

With FAKETIME_DONT_FAKE_MONOTONIC it hands the kernel a time that it never filled in: EINVAL.
"""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
