"""Remembers which messages the broker has confirmed, until that is noted in the ledger a little later."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from services.ledger.message import Message

NOTED_AFTER_SECONDS = 0.5
"""Most steps have ended by then, and need no note; the relay would publish once more after two seconds."""


Confirm = tuple[str, int, float]
"""A step, its message's retries, and how many seconds ago the broker confirmed that."""


class Confirms:
    """What one thread has published and not noted yet. What gets lost here, the relay publishes once more."""

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

    def take(self) -> list[Confirm]:
        """All, for who writes them now (`services.ledger.store.note_confirms`)."""
        confirmed, self._confirmed = self._confirmed, []
        now = monotonic()
        return [(step_id, retries, now - at) for step_id, retries, at in confirmed]
