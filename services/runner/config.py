"""What the runner must know of its pool and of the adapters it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import Connection

from services.ledger.database import Ledger
from services.observability.spans import Spans


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """One worker process's runner.

    process: its number among those of its pool on its host.
    grace_seconds: how long a stopping process may finish what it has received.
    transaction: makes the handlers' port of a connection.
    """

    pool: str
    style: Literal["batch", "io"]
    host: str
    grace_seconds: float
    ledger: Ledger
    transaction: Callable[[Connection[Any]], Any]
    failpoints: str = ""
    process: int = 1
    spans: Spans | None = None
