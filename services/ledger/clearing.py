"""Takes dead letters of given steps out of their queues for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.broker_tls import BrokerTls
from services.domain.errors import Unavailable
from services.ledger.dead_letters import DeadLetters

MOST = 100_000
"""A queue with more letters takes longer to look through than a step may run."""


def take_out(broker_url: str, tls: BrokerTls | None, steps: Mapping[str, Sequence[str]]) -> int:
    """Acknowledge the messages of these steps, by their work queue; how many there were.

    All others keep their place. Idempotent.

    Raises:
        Unavailable: the broker does not answer, or has more letters than can be looked through.
        Refused: this user of the broker may not read a queue, or it is not there.
    """
    taken = 0
    with DeadLetters(broker_url, tls) as letters:
        for queue, ids in steps.items():
            if (waiting := letters.waiting(queue)) > MOST:
                raise Unavailable(
                    f"{queue}.dead has {waiting:,} letters, too many to look through: replay or drop some"
                )
            wanted = frozenset(ids)
            found = [letter for letter in letters.read(queue) if letter.id in wanted]
            letters.acknowledge(found)
            taken += len(found)
    return taken
