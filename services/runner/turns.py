"""Places for a few calls at once, given to queues in turn."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """So many places; used on one event loop, and nobody who waits is cancelled.

    Those of one queue get them in their order. What has come in thousands by one
    queue has a place kept waiting for what comes by another one no longer than a call.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    async def acquire(self, queue: str) -> None:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(queue, deque()).append(place)
        await place

    def release(self) -> None:
        """Give a place back, and to the queue that has had none for the longest."""
        if not self._lines:
            self._free += 1
            return
        queue = next(iter(self._lines))
        line = self._lines.pop(queue)
        line.popleft().set_result(None)
        if line:
            self._lines[queue] = line
