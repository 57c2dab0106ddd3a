"""Processes on a wall clock of their own: it jumps forth and back under them, nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults.clock import WallClock
from tests.support.fleet import wait_until

_TELLS = """
import asyncio, datetime, json, sys, threading, time
for line in sys.stdin:
    began = time.perf_counter()
    time.sleep(0.05)
    threading.Event().wait(0.05)
    lock = threading.Lock()
    lock.acquire() and lock.acquire(timeout=0.05)
    asyncio.run(asyncio.sleep(0.05))
    took = time.perf_counter() - began
    told = {
        "time": time.time(),
        "datetime": datetime.datetime.now(datetime.timezone.utc).timestamp(),
        "monotonic": time.monotonic(),
        "took": took,
    }
    print(json.dumps(told), flush=True)
"""


@contextmanager
def _teller(clock: WallClock) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _TELLS],
        env={"PATH": os.environ["PATH"], **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()


def _ask(teller: subprocess.Popen[str]) -> dict[str, Any]:
    assert teller.stdin is not None
    assert teller.stdout is not None
    teller.stdin.write("\n")
    teller.stdin.flush()
    told: dict[str, Any] = json.loads(teller.stdout.readline())
    return told


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_running_process_sees_its_clock_jump_and_jump_back(tmp_path: Path, seconds: int) -> None:
    """Both ways of asking for the time agree; waiting takes as long as ever."""
    clock = WallClock(tmp_path)

    def ahead() -> float:
        told = _ask(teller)
        assert told["time"] == pytest.approx(told["datetime"], abs=0.5)
        assert told["monotonic"] == pytest.approx(time.monotonic(), abs=5)
        assert 0.19 < told["took"] < 5
        return float(told["time"] - time.time())

    with _teller(clock) as teller:
        assert abs(ahead()) < 5
        with clock.jumped(seconds):
            wait_until(lambda: abs(ahead() - seconds) < 5, 10)
        wait_until(lambda: abs(ahead()) < 5, 10)
