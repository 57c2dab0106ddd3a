"""Plans in the background what was accepted without steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from services.gateway.problems import DATABASE_ERRORS

PAUSE_SECONDS = 0.25
"""Between two looks: pools that have enough to do do not run dry within it."""

_log = logging.getLogger(__name__)


class Planner:
    """A thread that calls `plan_some` until nothing is left or there is no room, then again after a pause.

    plan_some: plans a list and returns how many it planned. It is called again
    after the database was away; what is not planned by then still waits in the ledger.
    """

    def __init__(self, plan_some: Callable[[], int]) -> None:
        self._plan_some = plan_some
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planner")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the list that it is at."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._planned():
                self._stopping.wait(PAUSE_SECONDS)

    def _planned(self) -> int:
        try:
            return self._plan_some()
        except DATABASE_ERRORS as error:
            _log.debug("cannot plan what waits: %s", error)
        except Exception:  # noqa: BLE001  the thread must outlive it
            _log.exception("cannot plan what waits")
        return 0
