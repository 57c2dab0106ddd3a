"""The arguments of each kind of queue; RabbitMQ 3.10 and 4.x take all of them."""

from __future__ import annotations

from routing.topology import Queue, Topology

Arguments = dict[str, str | int]

# RabbitMQ 4.x drops a message of a queue without a limit after 20 deliveries, and looking at a dead
# letter is a delivery; 3.10 refuses the -1 that 4.x has for "never". So: a limit that is never reached.
_UNREACHED_LIMIT = 1_000_000_000


def work_queue_arguments(topology: Topology, queue: Queue) -> Arguments:
    """Return the arguments of a queue of work."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": queue.delivery_limit,
        "x-dead-letter-exchange": topology.dead_exchange,
        "x-dead-letter-routing-key": queue.name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length": queue.max_length,
    }


def dead_queue_arguments() -> Arguments:
    """Return the arguments of a queue of dead letters: they stay until somebody replays or drops them."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": _UNREACHED_LIMIT,
        "x-overflow": "reject-publish",
    }


def delay_queue_arguments(topology: Topology, level: int) -> Arguments:
    """Return the arguments of the queue that holds back for 2**level seconds, just as kombu declares it."""
    delays = topology.delays
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-message-ttl": 2**level * 1000,
        "x-dead-letter-exchange": delays.level_name(level - 1) if level else delays.exit,
        "x-dead-letter-strategy": "at-least-once",
    }
