"""Publishes what a list has committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import psycopg

from services.domain.errors import Unavailable
from services.ledger import store
from services.ledger.confirms import Confirms
from services.ledger.database import Ledger
from services.ledger.message import Message
from services.observability.metrics import StepMetrics
from services.runner.own_connection import OwnConnection

logger = logging.getLogger(__name__)


class Sending:
    """Publishes with confirms, which are noted in the ledger a little later. Not thread-safe.

    At least once: what gets no confirm, or whose confirm gets lost before it is noted, the relay
    publishes again.
    """

    def __init__(self, ledger: Ledger, own: OwnConnection, metrics: StepMetrics) -> None:
        self._ledger = ledger
        self._own = own
        self._metrics = metrics
        self._confirms = Confirms()

    def publish(
        self, messages: Sequence[Message], on_sent: Callable[[int], None] | None = None
    ) -> bool:
        """Whether the broker was there for all of them. Nothing that fails here takes a step back.

        on_sent: called with each message's place once it is on its way, before it is confirmed.
        """
        try:
            with self._metrics.publishing():
                confirmed = self._ledger.publisher().publish(messages, on_sent)
            self._confirms.add(confirmed, messages)
        except Unavailable as error:
            logger.warning("%d messages are left to the relay: %s", len(messages), error)
        except Exception:
            logger.exception("%d messages are left to the relay", len(messages))
        else:
            return True
        return False

    @property
    def seconds_to_note(self) -> float | None:
        """Until `note_confirms` has something to do; None when there is nothing."""
        return self._confirms.seconds_left

    def note_confirms(self, busy_seconds: float = 0.0) -> None:
        """Note what the broker confirmed a while ago, or will have by the end of a list that takes so long."""
        left = self._confirms.seconds_left
        if left is None or left > busy_seconds:
            return
        try:
            self._note()
        except psycopg.Error as error:
            logger.warning("confirms could not be noted, the relay will repeat them: %s", error)
            self._own.drop()

    def close(self) -> None:
        """Note what was confirmed, if that is possible at once."""
        if self._own.is_open:
            with suppress(psycopg.Error):
                self._note()

    def _note(self) -> None:
        connection = self._own.get()
        store.note_confirms(connection, self._confirms.take())
        connection.commit()
