"""Lets many requests share a transaction: a thread takes what waits and answers it together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from services.domain.errors import Unavailable
from services.gateway.acceptance import Answer, Submission
from services.gateway.problems import DATABASE_ERRORS, Overloaded

LIST_SIZE = 64
FLOOD_LIST_SIZE = 256
"""While logins of batches are accepted without steps, which costs a quarter: none waits longer behind them."""
MAX_WAITING = 5_000
ANSWER_SECONDS = 15.0


@dataclass(slots=True)
class _Waiting:
    submission: Submission
    answer: Future[Answer] = field(default_factory=Future)


class Intake:
    """Answers submissions by `accept`, up to 64 at a time, in a flood 256, single ones before those of batches.

    A list that fails for another reason than the database being away is tried
    again one by one, so that one submission cannot fail its neighbours.
    """

    def __init__(
        self,
        accept: Callable[[Sequence[Submission]], Sequence[Answer]],
        is_flooded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._accept = accept
        self._is_flooded = is_flooded
        self._singles: deque[_Waiting] = deque()
        self._bulk: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_open = False
        # One: with a second, planning competes with the event loop, and fewer logins are
        # accepted (measured on two cores: 180 a second instead of 290).
        self._thread = threading.Thread(target=self._run, name="intake")

    def start(self) -> None:
        self._is_open = True
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    async def submit(self, submissions: Sequence[Submission]) -> list[Answer | BaseException]:
        """An answer for each, or the error it met: Unavailable when asking again can help."""
        waiting = [_Waiting(submission) for submission in submissions]
        with self._changed:
            room = MAX_WAITING - len(self._singles) - len(self._bulk) if self._is_open else 0
            (self._bulk if len(waiting) > 1 else self._singles).extend(waiting[:room])
            self._changed.notify()
        for item in waiting[room:]:
            item.answer.set_exception(Overloaded("too many logins wait to be accepted"))
        answers = [asyncio.wrap_future(item.answer) for item in waiting]
        # A submission that is given up here is not begun, or is committed and found by its key.
        _, late = await asyncio.wait(answers, timeout=ANSWER_SECONDS)
        for item, answer in zip(waiting, answers, strict=True):
            if answer in late:
                item.answer.cancel()
                answer.cancel()
        return [
            Unavailable("the ledger did not answer in time; send the same request again")
            if answer in late
            else answer.exception() or answer.result()
            for answer in answers
        ]

    def _run(self) -> None:
        while items := self._take():
            self._answer([item for item in items if item.answer.set_running_or_notify_cancel()])

    def _take(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._singles or self._bulk or not self._is_open)
            items: list[_Waiting] = []
            size = FLOOD_LIST_SIZE if self._is_flooded() else LIST_SIZE
            for lane in (self._singles, self._bulk):
                while lane and len(items) < size:
                    items.append(lane.popleft())
            return items

    def _answer(self, items: Sequence[_Waiting]) -> None:
        if not items:
            return
        try:
            answers = self._accept([item.submission for item in items])
        except DATABASE_ERRORS as error:
            away = Unavailable("the database does not answer; send the same request again")
            away.__cause__ = error
            _fail(items, away)
        except Exception as error:  # noqa: BLE001  handed to whoever waits for the answer
            if len(items) == 1:
                _fail(items, error)
                return
            for item in items:
                self._answer([item])
        else:
            for item, answer in zip(items, answers, strict=True):
                item.answer.set_result(answer)


def _fail(items: Sequence[_Waiting], error: Exception) -> None:
    for item in items:
        item.answer.set_exception(error)
