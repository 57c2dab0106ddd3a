"""A wall clock that jumps while the processes that live by it run; their monotonic clock stays right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LAG_SECONDS = 1.0
"""So much later, at most, a process notices a jump."""

_ROOT = Path(__file__).resolve().parents[3]
_PRELOAD = Path(__file__).with_name("preload")


class WallClock:
    """Processes started with `environment` see the true time, until somebody lets their clock jump."""

    def __init__(self, directory: Path) -> None:
        """directory: where the clock's file is kept; one clock a directory."""
        self._file = directory / "wall-clock"
        self._write(0)
        self.environment = {
            "LD_PRELOAD": str(find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(int(LAG_SECONDS)),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{_PRELOAD}{os.pathsep}{_ROOT}",
        }

    @contextmanager
    def jumped(self, seconds: int) -> Iterator[None]:
        """During the block the clock is so far ahead (or, below zero, behind); then it jumps back."""
        self._write(seconds)
        try:
            yield
        finally:
            self._write(0)

    def _write(self, seconds: int) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.rename(self._file)


def find_library() -> Path:
    """Where libfaketime is; skips the test on a laptop without it, fails in CI."""
    if found := sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1")):
        return found[0]
    reason = "libfaketime is missing: install the package libfaketime"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
