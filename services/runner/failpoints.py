"""Kills this process at a named point, once, so that tests can show what a kill there does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from services.domain.errors import ConfigurationError

POINTS = (
    "after_handler",
    "after_join",
    "after_commit",
    "before_body_publish",
    "after_first_publish",
    "after_last_publish",
    "before_ack",
)


class Failpoints:
    """Armed from a setting `POINT@TASK=MARKER,...`; unarmed points cost a dictionary look-up.

    The marker file is created when the point kills, so that it does so once
    however many processes share the setting. `after_join` lies before the
    commit that completes a chord's header, `before_body_publish` behind it.
    """

    def __init__(self, spec: str = "") -> None:
        self._armed: dict[tuple[str, str], Path] = {}
        for entry in filter(None, spec.split(",")):
            where, _, marker = entry.partition("=")
            point, _, task = where.partition("@")
            if not (marker and task) or point not in POINTS:
                raise ConfigurationError(
                    f"DOORBELL_FAILPOINTS: {entry!r} is not POINT@TASK=FILE with a point of {POINTS}"
                )
            self._armed[point, task] = Path(marker)

    def are_at(self, point: str) -> bool:
        """Whether this point is armed for any task."""
        return any(armed == point for armed, _ in self._armed)

    def hit(self, point: str, task: str) -> None:
        """Die here by SIGKILL if this point is armed for this task and has not killed before."""
        marker = self._armed.get((point, task))
        if marker is None:
            return
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        # A new file's own time is up to a clock tick old: it could lie before the commit behind which we die.
        now = time.time_ns()
        os.utime(marker, ns=(now, now))
        os.kill(os.getpid(), signal.SIGKILL)
