"""A consumer that takes no messages while it is drained, and that shows that it moves."""

from __future__ import annotations

import logging
import os
from time import monotonic, sleep
from typing import Any

import psycopg
from celery.worker.consumer.consumer import Consumer
from celery.worker.state import maybe_shutdown, reserved_requests

from services.ledger.drains import is_drained
from services.observability.metrics import DRAINING
from services.runner import remote_control  # noqa: F401  # registers its commands

logger = logging.getLogger(__name__)

DATABASE_PAUSE_SECONDS = 1.0


class DrainableConsumer(Consumer):
    """Celery's consumer; whether it takes messages is what the ledger says.

    It asks each time that it has connected to the broker, and when `doorbell pool`
    tells it to. Without an answer it takes none: while PostgreSQL is away
    nothing could be done with them.
    """

    app: Any
    connection: Any
    task_consumer: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pool.on_still_stopping = lambda: self.app.heartbeat.beat("stopping")
        self._started_at = monotonic()
        self.own_queues = tuple(self.app.amqp.queues.consume_from)
        self._is_draining = False

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's; then the ledger is asked, and life is shown each second that the loop turns.

        This is after control commands are heard and before the first message is
        taken: no drain slips through between.
        """
        super().register_with_event_loop(hub)
        self._await_word()
        self._show_life()
        hub.call_repeatedly(1.0, self._show_life)

    def _await_word(self) -> None:
        # The loop does not turn meanwhile, and the watchdog must not mind.
        self.pool.on_disconnected()
        while not self.read_drain():
            self.app.heartbeat.beat("waiting for PostgreSQL")
            self.connection.connection.send_heartbeat()
            sleep(DATABASE_PAUSE_SECONDS)
            maybe_shutdown()

    def _show_life(self) -> None:
        self.app.heartbeat.beat(self._state, self.pool.trouble())

    @property
    def _state(self) -> str:
        if self._is_draining:
            return "draining"
        # Celery's own cancel_consumer takes queues away as well, without a word in the ledger.
        taken = self.task_consumer is not None and all(
            self.task_consumer.consuming_from(name) for name in self.own_queues
        )
        return "consuming" if taken else "not consuming"

    def while_away(self) -> None:
        """To be called every few seconds while the broker is away: end if told to, else show life."""
        maybe_shutdown()
        self.app.heartbeat.beat("reconnecting")

    def tell(self) -> dict[str, Any]:
        """What this process is and what it is at, for `doorbell pool`."""
        config = self.app.runner
        return {
            "pool": config.pool,
            "host": config.host,
            "process": config.process,
            "pid": os.getpid(),
            "state": self._state,
            # What is received counts too while a rate limit holds it back from the pool.
            "in_flight": max(self.pool.in_flight, len(reserved_requests)),
            "still_seconds": round(self.pool.still_seconds),
            "uptime_seconds": round(monotonic() - self._started_at),
        }

    def read_drain(self) -> bool:
        """Ask the ledger and act on what it says; False when it does not answer."""
        drained = self._ask()
        if drained is None:
            return False
        self._note(drained)
        for name in self.own_queues:
            if drained:
                self.cancel_task_queue(name)
            else:
                self.add_task_queue(name)
        return True

    def _ask(self) -> bool | None:
        config = self.app.runner
        try:
            with config.ledger.connect() as connection:
                return is_drained(connection, config.pool, config.host, config.process)
        except psycopg.Error as error:
            logger.warning("PostgreSQL does not say whether this process is drained: %s", error)
            return None

    def _note(self, drained: bool) -> None:
        if drained != self._is_draining:
            logger.warning(
                "drained: no message is taken" if drained else "messages are taken again"
            )
        self._is_draining = drained
        DRAINING.labels(self.app.runner.pool).set(drained)
