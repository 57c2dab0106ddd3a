"""Logging of a process: one format, and no record with personal data, whichever handler writes it."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

from services.observability.redaction import redact

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_plain = logging.Formatter()
_log = logging.getLogger(__name__)


class RedactedRecord(logging.LogRecord):
    """A record that is redacted as it is made: libraries with handlers of their own write it so too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            # Formatters take a text that is there over the exception itself.
            self.exc_text = redact(_plain.formatException(self.exc_info))

    def getMessage(self) -> str:  # noqa: N802  # logging's own name
        return redact(super().getMessage())


def configure(level: str) -> None:
    """Log to standard error from `level` on, redacted; what nobody catches goes the same way."""
    logging.setLogRecordFactory(RedactedRecord)
    logging.basicConfig(level=level, format=_FORMAT)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("the process ends", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is None or issubclass(given.exc_type, SystemExit):
        return
    name = given.thread.name if given.thread else "unknown"
    info = (given.exc_type, given.exc_value, given.exc_traceback)
    _log.critical("the thread %s ended", name, exc_info=info)
