"""Publishes what was committed but never confirmed: the other half of every commit."""

from __future__ import annotations

from time import monotonic

from services.ledger import limits, pauses, store
from services.ledger.database import Ledger

GRACE_SECONDS = 2.0
"""Whoever committed a message publishes it at once, and notes soon that it did; only what is older was left behind."""

LONGEST_SECONDS = 20.0
"""Beat starts a relay every other second: one that goes on and on would only fill the pool."""

_BATCH = 500

UNPARKED_A_RUN = 5_000
"""Steps of a task that was resumed; more at once would only change the place where they wait."""


def relay_once(ledger: Ledger, longest_seconds: float = LONGEST_SECONDS) -> int:
    """Publish what waits, for a limited time; returns how many messages the broker confirmed.

    At least once: two relays skip each other's rows, and a copy too many finds
    its step done. A queue that refuses a message (it is full, or not there) is
    left to the next run, so that it holds up no other.

    Raises:
        Unavailable: the broker does not answer; nothing is lost, the next run tries again.
    """
    with ledger.connection() as connection:
        pauses.unpark(connection, UNPARKED_A_RUN)
        limits.release(connection)
    published = 0
    until = monotonic() + longest_seconds
    refusing: set[str] = set()
    while True:
        with ledger.connection() as connection:
            messages = store.take_unpublished(connection, GRACE_SECONDS, _BATCH, refusing)
            confirmed = ledger.publisher().publish(messages)
            store.mark_published(connection, confirmed, messages)
        published += len(confirmed)
        if len(messages) < _BATCH or monotonic() > until:
            return published
        taken = set(confirmed)
        refusing |= {message.queue for message in messages if message.step_id not in taken}
