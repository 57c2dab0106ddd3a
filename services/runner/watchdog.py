"""Ends a process that no longer moves, so that its messages go to one that does."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from celery.exceptions import SoftTimeLimitExceeded

from services.runner.executor import Executor

logger = logging.getLogger(__name__)

EXIT_STATUS = 70
"""os.EX_SOFTWARE: supervisors start the process again."""

LOOP_SILENCE_SECONDS = 60.0
"""A consumer's loop that has not turned for so long sends no heartbeats either."""

FAILED_SECONDS = 15.0
"""More than this watchdog takes to end a process, or to forgive one that was stopped."""

_STOPPED_SECONDS = 5.0
_NOTE_SECONDS = 5.0


class Watchdog:
    """Looks once a second, from a thread of its own, at the executors and the consumer's loop.

    At a step's soft limit its thread gets Celery's SoftTimeLimitExceeded; at
    the hard limit the process exits, for a thread cannot be killed. A step that
    was alone then is noted, so that it is not started once more; one of a
    list comes again alone.
    """

    def __init__(
        self,
        executors: Callable[[], list[Executor]],
        overdue: Callable[[float], Sequence[str]],
        note_hard_limit: Callable[[str], None],
    ) -> None:
        self._executors = executors
        self._overdue = overdue
        self._note_hard_limit = note_hard_limit
        self._warned: set[float] = set()
        self._stop = threading.Event()
        self.last_turn: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._loop, name="doorbell-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def turn(self) -> None:
        """Called by the consumer's loop to show that it turns."""
        self.last_turn = monotonic()

    def trouble(self) -> str | None:
        """What is past its hard limit by so much that this watchdog must have failed."""
        if steps := self._overdue(FAILED_SECONDS):
            return f"step {steps[0]} is far past its hard limit"
        for executor in self._executors():
            since, (_, hard) = executor.busy_since, executor.limits
            if since is not None and hard and monotonic() - since > hard + FAILED_SECONDS:
                return f"a list of steps is far past its hard limit of {hard} seconds"
        return None

    def _loop(self) -> None:
        looked = monotonic()
        while not self._stop.wait(1.0):
            paused = monotonic() - looked > _STOPPED_SECONDS
            looked = monotonic()
            if paused:
                # The whole process was stopped (SIGSTOP, a frozen VM): that time is nobody's fault.
                self._forgive(looked)
                continue
            self._look()

    def _forgive(self, now: float) -> None:
        for executor in self._executors():
            if executor.busy_since is not None:
                executor.busy_since = now
        if self.last_turn is not None:
            self.last_turn = now

    def _look(self) -> None:
        if self.last_turn is not None and monotonic() - self.last_turn > LOOP_SILENCE_SECONDS:
            self._exit("the consumer's loop has not turned for a minute")
        if steps := self._overdue(0.0):
            self._note(steps)
            self._exit(f"step {steps[0]} is past its hard limit")
        for executor in self._executors():
            since, (soft, hard) = executor.busy_since, executor.limits
            if since is None:
                continue
            if hard and monotonic() - since > hard:
                self._note(executor.step_ids)
                self._exit(f"a list of steps is past its hard limit of {hard} seconds")
            if soft and monotonic() - since > soft and since not in self._warned:
                self._warned = {since}
                _interrupt(executor.thread_id)

    def _note(self, step_ids: Sequence[str]) -> None:
        """Note a step that was alone, but do not wait for a database that does not answer: the process must end."""
        if len(step_ids) != 1:
            return
        note = threading.Thread(target=self._note_hard_limit, args=step_ids, daemon=True)
        note.start()
        note.join(_NOTE_SECONDS)

    def _exit(self, reason: str) -> None:
        logger.critical("ending this process: %s; its threads stand at:", reason)
        try:
            faulthandler.dump_traceback(sys.stderr.fileno())
        finally:
            os._exit(EXIT_STATUS)


def _interrupt(thread_id: int | None) -> None:
    if thread_id is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread_id), ctypes.py_object(SoftTimeLimitExceeded)
        )
