"""Figures of the whole ledger, cheap enough to be asked for every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from services.ledger.store import limit_statements
from services.queries import load_queries

LATE_SECONDS = 15.0
"""A login without a verdict is late after that: several times what it takes."""

LATE_NOTICE_SECONDS = 15.0
"""A notice that has not left is."""

AGES_SECONDS = (10.0, 60.0, 600.0, 3600.0)
"""Open workflows are counted by whether they are older than each of these."""

MOST = 5_000
"""Rows that a query looks at. In a backlog the exact number matters to nobody, the load does."""

_LONGEST_SECONDS = 5.0
_SQL = load_queries("services.ledger", "figures.sql") | load_queries("services", "standby.sql")


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot of the primary: of a standby, or of the host that keeps backups.

    is_fetched: somebody is connected and fetches WAL through it.
    kept_bytes: WAL that is kept because it was not fetched through this slot yet.
    """

    name: str
    is_fetched: bool
    kept_bytes: float


@dataclass(frozen=True, slots=True)
class Held:
    """What an operator keeps from working: a `task`, a `breaker`, or processes of a `pool`, since so many seconds."""

    kind: str
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at the ledger; counts end at a limit.

    oldest_waiting_seconds: for each queue, since its oldest step was published and due, the steps
        in some process's hands included.
    open_by_age: how many were accepted more than so many seconds ago.
    parked_steps, limits: by task; steps that wait because it is held back, and how many begin in a second.
    oldest_workflow_seconds: since the oldest open workflow was accepted; of a replayed one, since it last moved.
    open_breakers: those that failures have opened; what an operator holds open is among `held`.
    lost_steps: given up as lost, neither replayed nor dropped yet.
    canary_seconds: since a canary last came back from all queues.
    is_standby_missing: commits wait for a standby, and none is connected.
    is_unprotected: commits wait for no standby, although one has a slot.
    """

    open_workflows: int
    oldest_workflow_seconds: float
    late_logins: int
    late_notices: int
    oldest_waiting_seconds: Mapping[str, float]
    lost_steps: int
    open_breakers: int
    is_standby_missing: bool
    is_unprotected: bool
    canary_seconds: float
    slots: Sequence[Slot]
    held: Sequence[Held]
    open_by_age: Mapping[float, int]
    parked_steps: Mapping[str, int]
    limits: Mapping[str, float]


def measure(connection: Connection[Any], queues: Sequence[str], notice_task: str) -> Figures:
    """Ask for all of them, in the caller's transaction, which then has a short statement time-out.

    notice_task: the name of the step that sends a notice.
    """
    values = {
        "most": MOST,
        "ages": list(AGES_SECONDS),
        "late": LATE_SECONDS,
        "late_notice": LATE_NOTICE_SECONDS,
        "queues": list(queues),
        "notice_task": notice_task,
    }
    limit_statements(connection, _LONGEST_SECONDS, _LONGEST_SECONDS)
    (workflows,) = _rows(connection, "open_workflows", values)
    (logins,) = _rows(connection, "late_logins", values)
    waiting = _rows(connection, "waiting_steps", values)
    (parked,) = _rows(connection, "parked_notices", values)
    (lost,) = _rows(connection, "lost_steps", values)
    (surroundings,) = _rows(connection, "surroundings", values)
    (standby,) = _rows(connection, "is_standby_missing", values)
    slots = _rows(connection, "slots", values)
    held = _rows(connection, "held", values)
    ages = _rows(connection, "open_workflows_by_age", values)
    parked_steps = _rows(connection, "parked_steps", values)
    limits = _rows(connection, "limits", values)
    return Figures(
        open_workflows=workflows["workflows"],
        oldest_workflow_seconds=workflows["oldest_seconds"],
        late_logins=logins["logins"],
        late_notices=sum(row["late_notices"] for row in waiting) + parked["late"],
        oldest_waiting_seconds={row["queue"]: row["oldest_seconds"] for row in waiting},
        lost_steps=lost["steps"],
        open_breakers=surroundings["open_breakers"],
        is_standby_missing=standby["is_standby_missing"],
        is_unprotected=surroundings["is_unprotected"],
        canary_seconds=surroundings["canary_seconds"],
        slots=[Slot(row["slot"], row["is_fetched"], row["kept_bytes"]) for row in slots],
        held=[Held(row["kind"], row["name"], row["seconds"]) for row in held],
        open_by_age={row["seconds"]: row["workflows"] for row in ages},
        parked_steps={row["task"]: row["steps"] for row in parked_steps},
        limits={row["task"]: row["per_second"] for row in limits},
    )


def _rows(
    connection: Connection[Any], name: str, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name].encode(), values)
        return cursor.fetchall()
