"""The batch style: whatever has arrived is run as one list by one thread."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from services.runner.delivery import Delivery
from services.runner.executor import Executor
from services.runner.pace import Pace

logger = logging.getLogger(__name__)

POSTPONED_SECONDS = 1.0


class BatchStyle:
    """Takes up to `size` deliveries at once and hands them to the executor.

    An idle pool runs a lone message at once; one that has just run a list gathers for the next,
    where others are to be expected (see Pace). A redelivered message runs alone, and one whose
    rows another process holds comes again after POSTPONED_SECONDS.
    """

    def __init__(self, executor: Executor, size: int, on_crash: Callable[[], None]) -> None:
        self._executor = executor
        self._postponed: deque[tuple[float, Delivery]] = deque()
        self._size = size
        self._on_crash = on_crash
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._left: deque[Delivery] = deque()
        self._pace = Pace()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._loop, name="doorbell-batch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, delivery: Delivery) -> None:
        """Called from the consumer's loop; never blocks."""
        self._inbox.put(delivery)

    def stop(self) -> None:
        """End the thread once everything submitted has run, what was postponed included."""
        self._inbox.put(None)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    @property
    def executors(self) -> list[Executor]:
        return [self._executor]

    def _loop(self) -> None:
        try:
            while (batch := self._take()) is not None:
                began_at = monotonic()
                if batch:
                    self._postpone(self._executor.run(batch))
                    self._pace.note(began_at, len(batch))
                # The next list may take as long as this one.
                self._executor.sending.note_confirms(monotonic() - began_at)
        except BaseException:
            # A process that no longer moves must end: its messages are redelivered elsewhere.
            logger.exception("the batch thread cannot go on")
            self._on_crash()
        finally:
            self._executor.close()

    def _postpone(self, held: Iterable[Delivery]) -> None:
        due_at = monotonic() + POSTPONED_SECONDS
        self._postponed.extend((due_at, delivery) for delivery in held)

    def _next(self, seconds: float | None) -> Delivery | None:
        """The next in order, waited for so long (None: for ever); None at the end. Raises queue.Empty."""
        if self._left:
            return self._left.popleft()
        waits = [
            each for each in (seconds, self._executor.sending.seconds_to_note) if each is not None
        ]
        if self._postponed:
            left = self._postponed[0][0] - monotonic()
            if left <= 0:
                return self._postponed.popleft()[1]
            waits.append(left)
        # Empty also when something else is due: the caller asks again.
        return self._inbox.get(block=seconds != 0.0, timeout=min(waits, default=None))

    def _seconds_for_more(self, gathered: int) -> float | None:
        if not gathered:
            return None
        return 0.0 if self._is_stopping else self._pace.seconds_left(gathered)

    def _take(self) -> list[Delivery] | None:
        batch: list[Delivery] = []
        seen: set[str] = set()
        while len(batch) < self._size:
            if self._is_stopping and not (batch or self._left or self._postponed):
                return None
            try:
                delivery = self._next(self._seconds_for_more(len(batch)))
            except queue.Empty:
                break
            if delivery is None:
                self._is_stopping = True
                if batch:
                    break
                continue
            if delivery.is_redelivered and batch or delivery.id in seen:
                self._left.append(delivery)
                break
            batch.append(delivery)
            seen.add(delivery.id)
            if delivery.is_redelivered:
                break
        return batch
