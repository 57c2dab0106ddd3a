"""Which processes are drained: they take no messages, and those that wait stay in their queues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "drains.sql").items()}


@dataclass(frozen=True, slots=True)
class Scope:
    """Processes of a pool: of one host or of all (None), of one number there or of all."""

    pool: str
    host: str | None = None
    process: int | None = None

    def covers(self, host: str | None, process: int | None) -> bool:
        """Whether a process, or all that another scope of the pool means, lies inside."""
        return self.host in (None, host) and self.process in (None, process)

    def meets(self, other: Scope) -> bool:
        """Whether a process can lie in both."""
        return (
            self.pool == other.pool
            and (self.host is None or other.host in (None, self.host))
            and (self.process is None or other.process in (None, self.process))
        )

    def __str__(self) -> str:
        number = "" if self.process is None else f" {self.process}"
        where = "" if self.host is None else f" on {self.host}"
        return f"{self.pool}{number}{where}"


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain that nobody has ended yet."""

    pool: str
    host: str | None
    process: int | None
    drained_by: str
    drained_at: datetime

    @property
    def scope(self) -> Scope:
        return Scope(self.pool, self.host, self.process)

    @property
    def way_back(self) -> str:
        """The command that ends it."""
        host = "" if self.host is None else f" --host {self.host}"
        process = "" if self.process is None else f" --process {self.process}"
        return f"doorbell pool resume {self.pool}{host}{process}"


def is_drained(connection: Connection[Any], pool: str, host: str, process: int) -> bool:
    """Whether a process is to take no messages."""
    values = {"pool": pool, "host": host, "process": process}
    row = connection.execute(_SQL["is_drained"], values).fetchone()
    return bool(row and row[0])


def open_drains(connection: Connection[Any]) -> list[Drain]:
    """All that is drained at this moment, the oldest first."""
    with connection.cursor(row_factory=class_row(Drain)) as cursor:
        return cursor.execute(_SQL["open_drains"]).fetchall()


def drain(connection: Connection[Any], scope: Scope, actor: str) -> None:
    """Note that these processes are to take no messages; once more changes nothing."""
    connection.execute(_SQL["drain"], _values(scope, actor))


def resume(connection: Connection[Any], scope: Scope, actor: str) -> int:
    """End the drains that lie inside, and return how many there were. Wider ones stay."""
    return connection.execute(_SQL["resume"], _values(scope, actor)).rowcount


def _values(scope: Scope, actor: str) -> dict[str, Any]:
    return {"pool": scope.pool, "host": scope.host, "process": scope.process, "actor": actor}
