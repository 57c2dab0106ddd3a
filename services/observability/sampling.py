"""Which steps monitors hear of when there are more than they can follow: all of some workflows."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from services.ledger.labels import is_shown

MOST_WORKFLOWS_PER_SECOND = 10.0
"""New workflows that a gateway lets monitors see in a second."""

MOST_PER_SECOND = 20.0
"""Steps outside of labelled workflows that a process tells monitors of in a second, before it chooses."""

_MOST_KEPT = 20_000
"""Steps whose beginning is kept; of those that never end here, such as parked ones, the oldest are forgotten."""

Fields = dict[str, Any]


class Budget:
    """Says which of the workflows that begin here are shown: up to so many a second, and as many at once.

    Decided where they begin and handed on with each message (head sampling, as in
    W3C Trace Context), so that a workflow is shown as a whole or not at all.
    Threads may share it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = MOST_WORKFLOWS_PER_SECOND
        self._filled_at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether the workflow that begins now is shown."""
        with self._lock:
            now = self._clock()
            refill = (now - self._filled_at) * MOST_WORKFLOWS_PER_SECOND
            self._left = min(MOST_WORKFLOWS_PER_SECOND, self._left + refill)
            self._filled_at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Sampling:
    """Chooses steps as their workflow's label says; others by their canvas' id, while there are many.

    Steps that do not succeed are told of from their beginning on, chosen or not.
    Figures that have to be exact are Prometheus' and count every step.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = 0
        self._received = 0
        self._received_before = 0
        self._kept: dict[str, Fields] = {}
        self._lock = threading.Lock()

    def choose(self, kind: str, fields: Fields) -> list[tuple[str, Fields]]:
        """What to send in the place of an event: itself, nothing, or itself behind what was kept back of its step."""
        step = fields.get("uuid")
        if step is None:
            return [(kind, fields)]
        with self._lock:
            if kind == "task-received":
                self._kept.pop(step, None)
                if self._is_chosen(step, fields):
                    return [(kind, fields)]
                self._keep(step, fields)
                return []
            if step not in self._kept:
                return [(kind, fields)]
            if kind == "task-started":
                return []
            kept = self._kept.pop(step)
            return [] if kind == "task-succeeded" else [("task-received", kept), (kind, fields)]

    def _is_chosen(self, step: str, fields: Fields) -> bool:
        shown = is_shown(fields.get("kwargs"))
        if shown is not True and fields.get("retries"):
            # Monitors have heard that it is tried again, and are not left with that.
            return True
        return _place(fields.get("root_id") or step) < self._share() if shown is None else shown

    def _share(self) -> float:
        """Of the steps that come now, by how many came within this second or the one before."""
        second = int(self._clock())
        if second != self._second:
            self._received_before = self._received if second == self._second + 1 else 0
            self._second, self._received = second, 0
        self._received += 1
        return MOST_PER_SECOND / max(self._received, self._received_before, MOST_PER_SECOND)

    def _keep(self, step: str, fields: Fields) -> None:
        self._kept[step] = {"timestamp": self._clock(), **fields}
        if len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]


def _place(canvas: str) -> float:
    """Its own place between 0 and 1, the same in every process."""
    return zlib.crc32(canvas.encode()) / 2**32
