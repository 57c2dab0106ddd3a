"""Plans in the background what was accepted without steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from services.gateway.problems import DATABASE_ERRORS

FEW_WAITING = 500
"""Steps that wait: pools have enough to do until there are more."""

PORTION = 1_500
"""Logins that are planned then. Together, for the longer a pool's lists are, the less each step costs."""

LIST_SIZE = 200
"""Of them, in a transaction."""

PAUSE_SECONDS = 0.25
"""Between two looks: pools do not run dry within it."""

_log = logging.getLogger(__name__)


class Planner:
    """A thread that plans a portion, in lists, whenever the pools have room for one.

    has_room: whether something is unplanned while few steps wait. plan_list: plans so many at most, and returns how
    many it planned. Both are called again after the database was away; what is not planned by then waits in the ledger.
    """

    def __init__(self, has_room: Callable[[], bool], plan_list: Callable[[int], int]) -> None:
        self._has_room = has_room
        self._plan_list = plan_list
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planner")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the list that it is at."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            try:
                if self._has_room():
                    self._plan_portion()
            except DATABASE_ERRORS as error:
                _log.debug("cannot plan what waits: %s", error)
            except Exception:  # noqa: BLE001  the thread must outlive it
                _log.exception("cannot plan what waits")

    def _plan_portion(self) -> None:
        left = PORTION
        while left > 0 and not self._stopping.is_set():
            planned = self._plan_list(min(left, LIST_SIZE))
            if not planned:
                return
            left -= planned
