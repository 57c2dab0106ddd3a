"""Celery's consumer as the runner needs it."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from celery.worker.consumer.consumer import Consumer
from celery.worker.state import maybe_shutdown

logger = logging.getLogger(__name__)

RECONNECT_STEP_SECONDS = 1
RECONNECT_LONGEST_SECONDS = 5
"""Celery's own pauses grow to half a minute: that long a fleet would stand still behind a broker that is back."""

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What Celery raises over a message that is no task message, wherever it stumbles."""


class StepConsumer(Consumer):
    """A consumer whose broker user may not declare anything, and that is back soon after its broker.

    The step that declares the delay topology is left out: the broker's
    definitions did that before anything started.
    """

    connection_errors: tuple[type[BaseException], ...]

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]  # a class attribute of Celery's
        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def create_task_handler(self, *args: Any, **options: Any) -> Any:
        """Celery's handler; what it cannot even receive is dead-lettered instead of ending the process."""
        receive = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> Any:
            try:
                return receive(message)
            except _UNREADABLE as error:
                self.on_decode_error(message, error)
                return None

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message that nobody can read; Celery would ack it, and it would be gone."""
        logger.error(
            "dead-lettered the message %s, whose body is none of Celery's: %s",
            message.headers.get("id"),
            exc,
        )
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker as long as it takes; the loop does not turn meanwhile."""
        self.pool.on_disconnected()
        connected = conn.ensure_connection(
            self._say_away,
            None,
            interval_start=RECONNECT_STEP_SECONDS,
            interval_step=RECONNECT_STEP_SECONDS,
            interval_max=RECONNECT_LONGEST_SECONDS,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return connected

    def _say_away(self, error: Exception, interval: float) -> None:
        logger.warning("the broker is away, trying again in %s seconds: %s", interval, error)
