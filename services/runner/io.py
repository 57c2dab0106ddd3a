"""The I/O style: many calls in flight on one loop, each with a deadline; outcomes commit in batches."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psycopg
from celery.worker.state import revoked

from services.domain.errors import Unavailable
from services.domain.outcome import Failed, Outcome
from services.ledger.database import is_away
from services.observability.logs import concerning
from services.runner.admission import Admission
from services.runner.batch import POSTPONED_SECONDS, BatchStyle
from services.runner.delivery import Delivery
from services.runner.executor import Executor
from services.runner.gathering import Gathering
from services.runner.giving_up import Withdrawn
from services.runner.task import IoListTask, IoTask, checked
from services.runner.tracing import about
from services.runner.turns import Turns

logger = logging.getLogger(__name__)

AWAY_PAUSE_SECONDS = 1.0


class IoStyle:
    """Calls handlers without holding a transaction, then commits their outcomes as a batch does.

    A handler that is still waiting at the soft limit, counted from its own
    start, becomes `Unavailable` and is tried again; a slow receiver holds up
    nobody else. A call that goes on behind that limit keeps its thread, and at
    the hard limit ends the process. A message that came for the third time or
    more runs beside no other such: it may be what kills its process. Where a task's
    calls take lists, those that are ready together are called together; a list that
    blows up is split. Steps that are not calls (celery.map, batch steps, plain
    tasks) run one by one on the committing thread.
    """

    def __init__(
        self,
        new_executor: Callable[[], Executor],
        concurrency: int,
        on_crash: Callable[[], None],
        task_of: Callable[[str], Any],
        on_begun: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._task_of = task_of
        self._on_begun = on_begun
        self._on_crash = on_crash
        self._admitting = new_executor()
        self._committing = BatchStyle(new_executor(), concurrency, on_crash)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="doorbell-io")
        self._admission = Admission(self._admitting.admit, concurrency)
        self._gatherings: dict[str, Gathering] = {}
        self._places: dict[str, Turns] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="doorbell-loop", daemon=True)
        self._running: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(concurrency)
        self._suspects = asyncio.Lock()
        self._starts: dict[object, _Running] = {}

    def start(self) -> None:
        self._committing.start()
        self._thread.start()

    def submit(self, delivery: Delivery) -> None:
        """Called from the consumer's loop; never blocks."""
        if delivery.outcome is None and _is_call(self._task_of(delivery.task)):
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
        return [self._admitting, *self._committing.executors]

    def overdue(self, margin_seconds: float) -> Sequence[str]:
        """The steps of a call that is past its hard limit by more than that, for the watchdog."""
        for each in list(self._starts.values()):
            if each.hard_limit and monotonic() - each.started > each.hard_limit + margin_seconds:
                return each.step_ids
        return ()

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
            if (is_admitted := await self._admission.admit(delivery)) is not None:
                return is_admitted
            await asyncio.sleep(POSTPONED_SECONDS)

    async def _call(self, delivery: Delivery) -> Outcome | None:
        """What the handler answers; None when the step has to be admitted again before its call.

        We stood still, or waited, for so long that it might outlast our reservation of the step, or
        PostgreSQL was away: another process may have done it meanwhile.
        """
        await self._acquire(delivery)
        if delivery.id in revoked:
            self._release(1, delivery.task)
            return Failed(Withdrawn("revoked"))
        if isinstance(self._task_of(delivery.task), IoListTask):
            gathering = self._gatherings.setdefault(delivery.task, Gathering(self._call_together))
            outcome = await gathering.outcome_of(delivery)
        else:
            (outcome,) = await self._call_together([delivery])
        error = outcome.error if isinstance(outcome, Failed) else None
        if error is None or not _is_away(error):
            return outcome
        # The step has not failed: a handler's calls are made so that they can be repeated.
        logger.warning("PostgreSQL is away, calling again", extra=about(delivery))
        await asyncio.sleep(AWAY_PAUSE_SECONDS)
        return None

    async def _call_together(self, deliveries: Sequence[Delivery]) -> list[Outcome | None]:
        """Call those that are reserved for us for as long as it may take; None for the others. Each has a slot."""
        now = monotonic()
        kept = [delivery for delivery in deliveries if now <= delivery.may_begin_until]
        self._release(len(deliveries) - len(kept), deliveries[0].task)
        outcomes = await self._answer(kept) if kept else []
        answered = {each.id: outcome for each, outcome in zip(kept, outcomes, strict=True)}
        return [answered.get(delivery.id) for delivery in deliveries]

    async def _answer(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome | None]:
        """One call's outcomes; a list that blows up is called one by one, in the slots that its steps have."""
        limit = min((each.soft_limit for each in deliveries if each.soft_limit), default=None)
        running = _Running(
            [each.id for each in deliveries], deliveries[0].task, _hard_limit(deliveries)
        )
        future = self._started(deliveries, running)
        failure: Exception
        try:
            async with asyncio.timeout(limit) as deadline:
                outcomes = await future
        except asyncio.CancelledError:
            failure = RuntimeError("the call was cancelled from within")
        except Exception as error:  # noqa: BLE001  # a bug in a handler is that step's failure
            # A handler's own, of a socket of its, is an error like another.
            if isinstance(error, TimeoutError) and deadline.expired():
                self._release_at_end(running)
                return [Failed(Unavailable(f"no answer within {limit} seconds"))] * len(deliveries)
            failure = error
        else:
            self._release(len(deliveries), running.task)
            return outcomes
        if len(deliveries) > 1 and not _is_away(failure):
            alone = await asyncio.gather(*(self._call_together([each]) for each in deliveries))
            return [outcome for (outcome,) in alone]
        self._release(len(deliveries), running.task)
        return [Failed(failure)] * len(deliveries)

    def _started(
        self, deliveries: Sequence[Delivery], running: _Running
    ) -> asyncio.Future[Sequence[Outcome]]:
        """Begin a call; its place under the watchdog lasts until it has really ended."""
        key = object()

        def ended(_: object) -> None:
            self._starts.pop(key, None)
            for delivery in deliveries:
                delivery.run_seconds = monotonic() - running.started
            self._loop.call_soon_threadsafe(self._note_end, running)

        now = datetime.now(UTC)
        self._on_begun(deliveries)
        for delivery in deliveries:
            delivery.began_at = now
        self._starts[key] = running
        task = self._task_of(deliveries[0].task)
        if inspect.iscoroutinefunction(task.call):
            coroutine = self._loop.create_task(_awaited(task, deliveries))
            coroutine.add_done_callback(ended)
            return coroutine
        thread = self._threads.submit(_called, task, deliveries)
        thread.add_done_callback(ended)
        return asyncio.wrap_future(thread, loop=self._loop)

    def _note_end(self, running: _Running) -> None:
        running.has_ended = True
        if running.is_left:
            self._release(len(running.step_ids), running.task)

    def _release_at_end(self, running: _Running) -> None:
        """Nobody waits any more; but its thread is taken until the call has really ended."""
        running.is_left = True
        if running.has_ended:
            self._release(len(running.step_ids), running.task)

    async def _acquire(self, delivery: Delivery) -> None:
        """A slot for one call; a task's own bound first, so that what waits for that takes no other's slot."""
        at_once = getattr(self._task_of(delivery.task), "at_once", None)
        if at_once is not None:
            await self._places.setdefault(delivery.task, Turns(at_once)).acquire(delivery.queue)
        await self._slots.acquire()

    def _release(self, calls: int, task: str) -> None:
        for _ in range(calls):
            self._slots.release()
            if task in self._places:
                self._places[task].release()


@dataclass(slots=True)
class _Running:
    """A call on its way, with the slots of its steps; `is_left` once nobody waits for it."""

    step_ids: list[str]
    task: str
    hard_limit: float | None
    started: float = field(default_factory=monotonic)
    is_left: bool = False
    has_ended: bool = False


def _hard_limit(deliveries: Sequence[Delivery]) -> float | None:
    return min((each.hard_limit for each in deliveries if each.hard_limit), default=None)


def _is_away(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and is_away(error)


def _is_call(task: object) -> bool:
    return isinstance(task, IoTask | IoListTask)


def _subject(deliveries: Sequence[Delivery]) -> dict[str, str | None]:
    if len(deliveries) == 1:
        return about(deliveries[0])
    return {"task": deliveries[0].task, "queue": deliveries[0].queue}


async def _awaited(task: Any, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
    with concerning(_subject(deliveries)):
        if not isinstance(task, IoListTask):
            return [checked(await task.call(deliveries[0].value()))]
        return _complete(await task.call([each.value() for each in deliveries]), deliveries)


def _called(task: Any, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
    with concerning(_subject(deliveries)):
        if not isinstance(task, IoListTask):
            return [checked(task.call(deliveries[0].value()))]
        return _complete(task.call([each.value() for each in deliveries]), deliveries)


def _complete(outcomes: Sequence[object], deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
    if len(outcomes) != len(deliveries):
        raise RuntimeError(f"the handler has {len(outcomes)} outcomes for {len(deliveries)} steps")
    return [checked(outcome) for outcome in outcomes]
