"""The batch style: whatever has arrived is run as one list by one thread."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from services.runner.delivery import Delivery
from services.runner.executor import Executor

logger = logging.getLogger(__name__)


class BatchStyle:
    """Takes up to `size` deliveries at once and hands them to the executor.

    It never waits for a list to fill: an idle pool runs a lone message at once,
    a busy one finds the next list already there. A redelivered message runs alone.
    """

    def __init__(self, executor: Executor, size: int, on_crash: Callable[[], None]) -> None:
        self._executor = executor
        self._size = size
        self._on_crash = on_crash
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._left: list[Delivery] = []
        self._thread = threading.Thread(target=self._loop, name="doorbell-batch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, delivery: Delivery) -> None:
        """Called from the consumer's loop; never blocks."""
        self._inbox.put(delivery)

    def stop(self) -> None:
        """End the thread once everything submitted has run."""
        self._inbox.put(None)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    @property
    def executors(self) -> list[Executor]:
        return [self._executor]

    def _loop(self) -> None:
        try:
            while (batch := self._take()) is not None:
                if batch:
                    self._executor.run(batch)
        except BaseException:
            # A process that no longer moves must end: its messages are redelivered elsewhere.
            logger.exception("the batch thread cannot go on")
            self._on_crash()
        finally:
            self._executor.close()

    def _take(self) -> list[Delivery] | None:
        batch: list[Delivery] = []
        seen: set[str] = set()
        waiting, self._left = self._left, []
        while len(batch) < self._size:
            if waiting:
                delivery: Delivery | None = waiting.pop(0)
            elif batch and self._inbox.empty():
                break
            else:
                delivery = self._inbox.get()
            if delivery is None:
                if batch:
                    self._inbox.put(None)
                    break
                return None
            if delivery.is_redelivered and batch or delivery.id in seen:
                self._left.append(delivery)
                break
            batch.append(delivery)
            seen.add(delivery.id)
            if delivery.is_redelivered:
                break
        self._left += waiting
        return batch
