"""What an operator's commands work with: the ledger, and the broker as the operator sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from services.cli.endpoints import find
from services.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery

    from routing.topology import Topology
    from services.ledger.database import Ledger
    from services.ledger.dead_letters import DeadLetters


@dataclass(frozen=True, slots=True)
class Desk:
    """Open connections of one command; the broker is asked for nothing before it is needed."""

    app: Celery
    topology: Topology
    ledger: Ledger
    connection: Connection[Any]
    letters: DeadLetters


@contextmanager
def opened() -> Iterator[Desk]:
    """The desk of the environment's system, or else of the local cluster's."""
    # They would slow every other command down.
    from routing.load import load as load_topology
    from services.celery_app import make_app
    from services.ledger.dead_letters import DeadLetters
    from services.settings import Settings

    endpoints, topology = find(), load_topology()
    settings = Settings(
        endpoints.broker_url, endpoints.database_url, broker_tls=endpoints.broker_tls
    )
    app = make_app(settings, topology)
    ledger = app.ledger
    with (
        DeadLetters(endpoints.broker_url, endpoints.broker_tls) as letters,
        ledger.connect() as connection,
    ):
        try:
            yield Desk(app, topology, ledger, connection, letters)
        finally:
            ledger.publisher().close()
            ledger.close()
            app.close()


def queues_of(
    topology: Topology, pool: str | None, queue: str | None, option: str = "--queue"
) -> tuple[str, ...]:
    """The queues that are meant: one, a pool's, or all. option: what names the queue.

    Raises:
        ConfigurationError: there is no such pool or queue.
    """
    if queue is not None and queue not in topology.queues:
        raise ConfigurationError(
            f"{option}: there is no queue {queue!r}: use one of {', '.join(topology.queues)}"
        )
    if pool is not None and pool not in topology.pools:
        raise ConfigurationError(
            f"--pool: there is no pool {pool!r}: use one of {', '.join(topology.pools)}"
        )
    names = topology.queues_of(pool) if pool is not None else tuple(topology.queues)
    return tuple(name for name in names if queue in (None, name))
