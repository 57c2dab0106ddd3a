"""The I/O style: many calls in flight on one loop, each with a deadline; outcomes commit in batches."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psycopg

from services.domain.errors import Unavailable
from services.domain.outcome import Failed, Outcome
from services.ledger.database import is_away
from services.observability.logs import concerning
from services.runner.batch import POSTPONED_SECONDS, BatchStyle
from services.runner.delivery import Delivery
from services.runner.executor import Executor
from services.runner.task import IoTask
from services.runner.tracing import about

logger = logging.getLogger(__name__)

AWAY_PAUSE_SECONDS = 1.0


class IoStyle:
    """Calls handlers without holding a transaction, then commits their outcomes as a batch does.

    A handler that is still waiting at the soft limit, counted from its own
    start, becomes `Unavailable` and is tried again; a slow receiver holds up
    nobody else. A call that goes on behind that limit keeps its thread, and at
    the hard limit ends the process. A message that came for the third time or
    more runs beside no other such: it may be what kills its process. Steps that are not
    calls (celery.map, batch steps, plain tasks) run one by one on the
    committing thread.
    """

    def __init__(
        self,
        new_executor: Callable[[], Executor],
        concurrency: int,
        on_crash: Callable[[], None],
        task_of: Callable[[str], Any],
    ) -> None:
        self._task_of = task_of
        self._on_crash = on_crash
        self._admission = new_executor()
        self._committing = BatchStyle(new_executor(), concurrency, on_crash)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="doorbell-io")
        # One thread, because an executor is not thread-safe; a look-up by key is quick.
        self._door = ThreadPoolExecutor(1, thread_name_prefix="doorbell-admit")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="doorbell-loop", daemon=True)
        self._running: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(concurrency)
        self._suspects = asyncio.Lock()
        self._starts: dict[object, tuple[str, float, float | None]] = {}

    def start(self) -> None:
        self._committing.start()
        self._thread.start()

    def submit(self, delivery: Delivery) -> None:
        """Called from the consumer's loop; never blocks."""
        if delivery.outcome is None and isinstance(self._task_of(delivery.task), IoTask):
            self._loop.call_soon_threadsafe(self._begin, delivery)
        else:
            self._committing.submit(delivery)

    def stop(self) -> None:
        """End once everything submitted has been called and committed."""

        async def drain() -> None:
            while self._running:
                await asyncio.wait(set(self._running))
            self._committing.stop()
            self._loop.stop()

        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(drain()))

    def join(self, timeout: float) -> None:
        deadline = monotonic() + timeout
        self._thread.join(timeout)
        self._committing.join(max(0.0, deadline - monotonic()))

    @property
    def executors(self) -> list[Executor]:
        return [self._admission, *self._committing.executors]

    def overdue(self, margin_seconds: float) -> str | None:
        """The id of a step whose handler is past its hard limit by more than that, for the watchdog."""
        for step_id, started, hard in list(self._starts.values()):
            if hard and monotonic() - started > hard + margin_seconds:
                return step_id
        return None

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except BaseException:
            # A handler asked to exit. Without the loop nothing here would end.
            logger.exception("the loop of calls cannot go on")
            self._on_crash()

    def _begin(self, delivery: Delivery) -> None:
        task = self._loop.create_task(self._handle(delivery))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, delivery: Delivery) -> None:
        if not delivery.is_suspect:
            await self._run(delivery)
            return
        # Until it is acked: the next one may kill the process, and this one would be blamed again.
        async with self._suspects:
            answered = asyncio.Event()
            delivery.on_answered = lambda: self._loop.call_soon_threadsafe(answered.set)
            await self._run(delivery)
            await answered.wait()

    async def _run(self, delivery: Delivery) -> None:
        try:
            while delivery.outcome is None and await self._admit(delivery):
                delivery.outcome = await self._call(delivery)
        except Exception as error:  # noqa: BLE001  # whatever it is, the commit decides; nothing waits for ever
            delivery.outcome = Failed(error)
        self._committing.submit(delivery)

    async def _admit(self, delivery: Delivery) -> bool:
        while True:
            admit = self._admission.admit
            is_admitted = await self._loop.run_in_executor(self._door, admit, delivery)
            if is_admitted is not None:
                return is_admitted
            await asyncio.sleep(POSTPONED_SECONDS)

    async def _call(self, delivery: Delivery) -> Outcome | None:
        """What the handler answers; None when the step has to be admitted again before its call.

        We stood still, or waited, for longer than the step was reserved for us, or
        PostgreSQL was away: another process may have done it meanwhile.
        """
        await self._slots.acquire()
        if monotonic() > delivery.lease_ends:
            self._slots.release()
            return None
        outcome = await self._answer(delivery)
        error = outcome.error if isinstance(outcome, Failed) else None
        if not (isinstance(error, psycopg.Error) and is_away(error)):
            return outcome
        # The step has not failed: a handler's calls are made so that they can be repeated.
        logger.warning("PostgreSQL is away, calling again", extra=about(delivery))
        await asyncio.sleep(AWAY_PAUSE_SECONDS)
        return None

    async def _answer(self, delivery: Delivery) -> Outcome:
        future = self._started(delivery)
        try:
            async with asyncio.timeout(delivery.soft_limit):
                outcome: Outcome = await future
        except TimeoutError:
            return Failed(Unavailable(f"no answer within {delivery.soft_limit} seconds"))
        except asyncio.CancelledError:
            return Failed(RuntimeError("the call was cancelled from within"))
        except Exception as error:  # noqa: BLE001  # a bug in a handler is that step's failure
            return Failed(error)
        return outcome

    def _started(self, delivery: Delivery) -> asyncio.Future[Outcome]:
        """Begin a call; its slot and its place under the watchdog last until it has really ended."""
        key = object()

        def ended(_: object) -> None:
            self._starts.pop(key, None)
            self._loop.call_soon_threadsafe(self._slots.release)

        call = self._task_of(delivery.task).call
        delivery.began_at = datetime.now(UTC)
        self._starts[key] = (delivery.id, monotonic(), delivery.hard_limit)
        if inspect.iscoroutinefunction(call):
            task = self._loop.create_task(_awaited(call, delivery))
            task.add_done_callback(ended)
            return task
        thread = self._threads.submit(_called, call, delivery)
        thread.add_done_callback(ended)
        return asyncio.wrap_future(thread, loop=self._loop)


async def _awaited(call: Callable[[Any], Any], delivery: Delivery) -> Outcome:
    with concerning(about(delivery)):
        outcome: Outcome = await call(delivery.value())
    return outcome


def _called(call: Callable[[Any], Outcome], delivery: Delivery) -> Outcome:
    with concerning(about(delivery)):
        return call(delivery.value())
