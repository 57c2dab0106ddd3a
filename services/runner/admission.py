"""Asks for many I/O steps at once whether their calls may begin."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

from services.runner.delivery import Delivery
from services.runner.pace import Pace

Answer = bool | None | Exception


class Admission:
    """Collects deliveries while the list before is being asked about; used on one event loop.

    ask: says of each of a list, no two of one step, whether its call may begin;
    called on one thread, because an executor is not thread-safe. A redelivered
    message is asked about alone, as it is run alone. Gathers as the batch style does.
    """

    def __init__(self, ask: Callable[[Sequence[Delivery]], Sequence[Answer]], size: int) -> None:
        self._ask = ask
        self._size = size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="doorbell-admit")
        self._waiting: deque[tuple[Delivery, asyncio.Future[bool | None]]] = deque()
        self._rounds: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._enough = asyncio.Event()

    async def admit(self, delivery: Delivery) -> bool | None:
        """See `Executor.admit`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool | None] = loop.create_future()
        self._waiting.append((delivery, answer))
        if not self._pace.seconds_left(len(self._waiting)):
            self._enough.set()
        if self._rounds is None:
            self._rounds = loop.create_task(self._ask_all())
        return await answer

    async def _ask_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                await self._gather()
                began_at = monotonic()
                asked = self._take()
                deliveries = [delivery for delivery, _ in asked]
                try:
                    answers = await loop.run_in_executor(self._thread, self._ask, deliveries)
                except Exception as error:  # noqa: BLE001  # handed to whoever waits for the answer
                    answers = [error] * len(asked)
                self._pace.note(began_at, len(asked))
                for (_, waiting), answer in zip(asked, answers, strict=True):
                    _settle(waiting, answer)
        finally:
            self._rounds = None

    async def _gather(self) -> None:
        if self._waiting[0][0].is_redelivered:
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.seconds_left(len(self._waiting))):
                await self._enough.wait()

    def _take(self) -> list[tuple[Delivery, asyncio.Future[bool | None]]]:
        taken: dict[str, tuple[Delivery, asyncio.Future[bool | None]]] = {}
        while self._waiting and len(taken) < self._size:
            delivery = self._waiting[0][0]
            if taken and (delivery.is_redelivered or delivery.id in taken):
                break
            taken[delivery.id] = self._waiting.popleft()
            if delivery.is_redelivered:
                break
        return list(taken.values())


def _settle(waiting: asyncio.Future[bool | None], answer: Answer) -> None:
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
