"""Notes in the ledger which messages the broker has confirmed, a little after it did."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from psycopg import Connection

from services.ledger import store
from services.ledger.message import Message

NOTED_AFTER_SECONDS = 0.5
"""Most steps have ended by then, and need no note; the relay would publish once more after two seconds."""


class Confirms:
    """What an executor has published and not noted yet. What gets lost here, the relay publishes once more."""

    def __init__(self) -> None:
        self._confirmed: list[tuple[str, int, float]] = []

    def add(self, confirmed: Sequence[str], messages: Sequence[Message]) -> None:
        """Remember the ids of confirmed messages, of those that were published just now."""
        retries = {message.step_id: message.retries for message in messages}
        now = monotonic()
        self._confirmed += [(step_id, retries[step_id], now) for step_id in confirmed]

    @property
    def seconds_left(self) -> float | None:
        """Until the oldest is to be noted; None when there is none."""
        if not self._confirmed:
            return None
        return max(0.0, self._confirmed[0][2] + NOTED_AFTER_SECONDS - monotonic())

    def forget(self) -> None:
        """Leave them to the relay."""
        self._confirmed = []

    def note(self, connection: Connection[Any]) -> None:
        """Write all, and commit."""
        confirmed, self._confirmed = self._confirmed, []
        now = monotonic()
        store.note_confirms(
            connection, [(step_id, retries, now - at) for step_id, retries, at in confirmed]
        )
        connection.commit()
