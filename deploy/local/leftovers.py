"""Processes of a local cluster, found by a mark in their environment: what outlived its supervisor is ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.local.layout import Layout

_POLITE_SECONDS = 15.0
_FORCED_SECONDS = 5.0


def mark(layout: Layout) -> dict[str, str]:
    """The environment that every process of the cluster inherits."""
    return {"LOCAL_CLUSTER_ROOT": str(layout.root)}


def find(layout: Layout) -> list[int]:
    """The pids of the cluster's processes, the supervisor among them, zombies left out."""
    marks = {f"{name}={value}".encode() for name, value in mark(layout).items()}
    found = []
    for directory in Path("/proc").iterdir():
        # Other users' processes cannot be read, and any process may end at any moment.
        with contextlib.suppress(OSError):
            if directory.name.isdigit() and marks <= set(
                (directory / "environ").read_bytes().split(b"\0")
            ):
                found.append(int(directory.name))
    return [pid for pid in found if _is_alive(pid) and pid != os.getpid()]


def end(layout: Layout) -> list[int]:
    """End all of them, by force where asking does not help, and return whom it met."""
    met = find(layout)
    for sign, seconds in ((signal.SIGTERM, _POLITE_SECONDS), (signal.SIGKILL, _FORCED_SECONDS)):
        for pid in find(layout):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + seconds
        while find(layout) and time.monotonic() < deadline:
            time.sleep(0.1)
    return met


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
