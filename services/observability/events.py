"""Celery's events as monitors such as Flower hear them: without personal data, and no more than they can follow."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

from services.observability.redaction import redact
from services.observability.sampling import Sampling

_TEXTS = ("exception", "traceback")
"""What an event quotes of an error. Arguments and results are ids and facts by design, and many."""


_RETRIES = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
"""Celery's heartbeats are sent from the consumer's loop and tried until they succeed; meanwhile nothing is consumed."""


class RedactedDispatcher(EventDispatcher):
    """Sends events whose quoted texts are redacted, of those steps that are chosen while there are many.

    One that cannot be sent soon is kept for the next connection.
    """

    app: Any
    _outbound_buffer: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sampling: Sampling | None = None

    def extend_buffer(self, other: Any) -> None:
        """Celery's; what the dispatcher of a lost connection had gathered and not tried to send is kept as well."""
        super().extend_buffer(other)
        self._outbound_buffer.extend(
            (list(events), f"{group}.multi")
            for group, events in other._group_buffer.items()
            if events
        )

    def send(self, *args: Any, **fields: Any) -> None:
        fields.setdefault("retry_policy", _RETRIES)
        for name in _TEXTS:
            if fields.get(name) is not None:
                fields[name] = redact(str(fields[name]))
        kind, *rest = args
        if self._sampling is None:
            # Celery's attributes are looked up under a lock each time.
            self._sampling = self.app.events.sampling
        for name, chosen in self._sampling.choose(kind, fields):
            super().send(name, *rest, **chosen)


class RedactedEvents(Events):
    """Celery's events with the dispatcher above; an app takes it as `events_cls`.

    It lives as long as the process, its dispatchers as long as a connection.
    """

    dispatcher_cls = "services.observability.events:RedactedDispatcher"

    def __init__(self, app: Any = None) -> None:
        super().__init__(app)
        self.sampling = Sampling()
