"""Puts steps that are ready to be called together into lists."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from services.domain.outcome import Outcome
from services.runner.delivery import Delivery

LISTS_IN_FLIGHT = 4
"""While so many calls of a task are waited for, what comes is gathered for the next one."""


class Gathering:
    """One task's steps; used on one event loop.

    A lone step is called at once. A redelivered one is called alone: it may be
    what ends its process.
    """

    def __init__(
        self, call: Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome | None]]]
    ) -> None:
        self._call = call
        self._waiting: deque[tuple[Delivery, asyncio.Future[Outcome | None]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    async def outcome_of(self, delivery: Delivery) -> Outcome | None:
        """Call it, with whatever else is ready, and return its own outcome; None if it was not called."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome | None] = loop.create_future()
        self._waiting.append((delivery, answer))
        # Later in this turn of the loop: those that were admitted with it come first.
        loop.call_soon(self._begin)
        return await answer

    def _begin(self) -> None:
        while self._waiting and len(self._calls) < LISTS_IN_FLIGHT:
            call = asyncio.get_running_loop().create_task(self._answer(self._take()))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._begin()

    def _take(self) -> list[tuple[Delivery, asyncio.Future[Outcome | None]]]:
        taken = [self._waiting.popleft()]
        if not taken[0][0].is_redelivered:
            while self._waiting and not self._waiting[0][0].is_redelivered:
                taken.append(self._waiting.popleft())
        return taken

    async def _answer(self, taken: list[tuple[Delivery, asyncio.Future[Outcome | None]]]) -> None:
        try:
            outcomes = await self._call([delivery for delivery, _ in taken])
        except Exception as error:  # noqa: BLE001  # handed to whoever waits for the answer
            for _, answer in taken:
                answer.set_exception(error)
            return
        for (_, answer), outcome in zip(taken, outcomes, strict=True):
            answer.set_result(outcome)
