"""Which steps monitors hear of when there are more than they can follow: whole workflows, the same in every process."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

MOST_PER_SECOND = 20.0
"""Steps that a process tells monitors of in a second, before it chooses."""

_MOST_KEPT = 20_000
"""Steps whose beginning is kept; of those that never end here, such as parked ones, the oldest are forgotten."""

Fields = dict[str, Any]


class Sampling:
    """Chooses steps by their workflow's id: where few are chosen, they are among those chosen where more are.

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
                if _place(fields.get("root_id") or step) < self._share():
                    return [(kind, fields)]
                self._keep(step, fields)
                return []
            if step not in self._kept:
                return [(kind, fields)]
            if kind == "task-started":
                return []
            kept = self._kept.pop(step)
            return [] if kind == "task-succeeded" else [("task-received", kept), (kind, fields)]

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


def _place(workflow: str) -> float:
    """A workflow's own place between 0 and 1."""
    return zlib.crc32(workflow.encode()) / 2**32
