"""Celery's events without personal data: monitors such as Flower keep and show errors as they hear them."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

from services.observability.redaction import redact

_TEXTS = ("exception", "traceback")
"""What an event quotes of an error. Arguments and results are ids and facts by design, and many."""


_RETRIES = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
"""Celery's heartbeats are sent from the consumer's loop and tried until they succeed; meanwhile nothing is consumed."""


class RedactedDispatcher(EventDispatcher):
    """Sends events whose quoted texts are redacted. One that cannot be sent soon is kept for the next connection."""

    def send(self, *args: Any, **fields: Any) -> None:
        fields.setdefault("retry_policy", _RETRIES)
        for name in _TEXTS:
            if fields.get(name) is not None:
                fields[name] = redact(str(fields[name]))
        super().send(*args, **fields)


class RedactedEvents(Events):
    """Celery's events with the dispatcher above; an app takes it as `events_cls`."""

    dispatcher_cls = "services.observability.events:RedactedDispatcher"
