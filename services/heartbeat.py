"""A process leaves word in a file that it moves; `python -m services.healthcheck` reads it from outside."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from time import monotonic

logger = logging.getLogger(__name__)


class Heartbeat:
    """Writes what the process is at, and when that was so: by the clock that runs since this machine's start.

    To be called by the very loop that must not stand still, never by a thread beside it.
    Without a file it does nothing.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = Path(path) if path else None

    def beat(self, state: str, trouble: str | None = None) -> None:
        """`trouble` says what is wrong although the loop turns."""
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.write_text(
                json.dumps({"at": monotonic(), "state": state, "trouble": trouble})
            )
            temporary.replace(self._path)
        except OSError as error:
            # The file then grows old, which is what its reader looks at.
            logger.warning("cannot write %s: %s", self._path, error.strerror)
