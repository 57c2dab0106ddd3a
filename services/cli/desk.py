"""What an operator's commands work with: the ledger, and the broker as the operator sees it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer
from celery import Celery
from psycopg import Connection

from routing.load import load as load_topology
from routing.topology import Topology
from services.cli.endpoints import find
from services.domain.errors import ConfigurationError
from services.ledger.database import Ledger
from services.ledger.dead_letters import DeadLetters
from services.settings import Settings

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HIGHEST_RATE = 1_000_000
_LONGEST_AGE_SECONDS = 100 * 365 * 86400.0
"""Before that there was nothing, and dates come to their end."""


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
    from services.celery_app import make_app  # Celery would slow every other command down

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


def seconds_of(age: str) -> float:
    """An age such as 90s, 10m, 1h or 2d in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _AGE.fullmatch(age)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else math.inf
    if seconds > _LONGEST_AGE_SECONDS:
        raise typer.BadParameter(f"{age!r} is no age: write 90s, 10m, 1h or 2d")
    return seconds


def as_rate(rate: float) -> float:
    """How many a second; infinity and what is no number are floats too.

    Raises:
        typer.BadParameter: it is none that can be kept to.
    """
    if not 1 <= rate <= _HIGHEST_RATE:
        raise typer.BadParameter(f"{rate} is no rate: write a number from 1 to {_HIGHEST_RATE:,}")
    return rate


def counted(count: int, one: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def summed(tasks: Sequence[str | None]) -> str:
    """Tasks with how often each occurs, the commonest first."""
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task or "unknown task"] = counts.get(task or "unknown task", 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{task} {count:,}" for task, count in ordered)
