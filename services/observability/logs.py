"""Logging of a process: one line of JSON for each event, and nothing personal in it."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from services.observability.redaction import redact

SUBJECT = ("workflow", "step", "task", "queue")
"""What an event can be about."""

_subject: ContextVar[dict[str, str | None] | None] = ContextVar("doorbell_subject", default=None)
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


class JsonLines(logging.Formatter):
    """A record as one JSON object in one line.

    `time` (UTC, RFC 3339), `level`, `event` and `logger`; `origin`, which is the
    same for the whole process; `workflow`, `step`, `task` and `queue` as far as
    they are known; `error` with the traceback of an exception.
    """

    def __init__(self, origin: dict[str, str]) -> None:
        super().__init__()
        self._origin = origin

    def format(self, record: logging.LogRecord) -> str:
        """Fields without a value are left out."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        known = _subject.get() or {}
        # Names of steps and tasks may be a stranger's, who can publish.
        subject = {name: getattr(record, name, known.get(name)) for name in SUBJECT}
        fields = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{name: redact(value) for name, value in subject.items() if value is not None},
            **self._origin,
            "logger": record.name,
            "error": self._error(record),
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    def _error(self, record: logging.LogRecord) -> str | None:
        if record.exc_text is None and record.exc_info:
            return redact(self.formatException(record.exc_info))
        return record.exc_text


@contextmanager
def concerning(subject: dict[str, str | None]) -> Iterator[None]:
    """Have everything that is logged in this context say what it is about: values by names of `SUBJECT`."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


def configure(level: str, **origin: str) -> None:
    """Log to standard error from `level` on, redacted; what nobody catches goes the same way.

    `origin` says of every line where it is from, such as host and process.
    """
    logging.setLogRecordFactory(RedactedRecord)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(origin))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
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
