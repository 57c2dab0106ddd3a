"""How the processes of a pool are started and what they are called."""

from __future__ import annotations

from typing import Any

from celery.utils.nodenames import host_format

from routing.topology import Topology


def worker_command(
    topology: Topology, pool: str, python: str = "python", process: int = 1
) -> tuple[str, ...]:
    """Return the command line of one worker process of a pool on a host.

    Raises:
        ConfigurationError: there is no such pool.
    """
    topology.pool(pool)
    more = () if process == 1 else ("--process", str(process))
    return (python, "-m", "services.worker", pool, *more)


def node_name(topology: Topology, pool: str, process: int = 1) -> str:
    """Return Celery's node name of a pool's n-th process on a host (%h: the host's name).

    Its control queue is exclusive, so that two processes of one host need two names.

    Raises:
        ConfigurationError: there is no such pool.
    """
    number = "" if process == 1 else f".{process}"
    return f"{topology.pool(pool).name}{number}@%h"


def worker_options(topology: Topology, pool: str, process: int = 1) -> dict[str, Any]:
    """Return the arguments for Celery's `app.Worker` that follow from the topology.

    Workers do not look for each other (no mingle, no gossip): a pool's broker user may neither
    send control commands nor hear the events of others.

    Raises:
        ConfigurationError: there is no such pool.
    """
    wanted = topology.pool(pool)
    return {
        "hostname": host_format(node_name(topology, pool, process)),
        "queues": list(topology.queues_of(pool)),
        "concurrency": wanted.concurrency,
        "soft_time_limit": wanted.soft_limit_seconds,
        "time_limit": wanted.hard_limit_seconds,
        "without_mingle": True,
        "without_gossip": True,
    }
