"""The reconciler's SQL as functions of a connection; the caller owns the transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from services.queries import load_queries

_SQL = load_queries("services.ledger", "repair.sql")

Row = dict[str, Any]


def _run(connection: Connection[Any], name: str, **values: Any) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name].encode(), values)
        return cursor.fetchall() if cursor.description else []


def become_reconciler(connection: Connection[Any]) -> bool:
    """Whether nobody else sweeps; holds until the transaction ends."""
    return bool(_run(connection, "become_reconciler")[0]["is_ours"])


def passed(connection: Connection[Any], deadlines: Mapping[str, float]) -> dict[str, datetime]:
    """Up to which time each queue has been passed; deadlines: seconds a delivered step may take."""
    rows = _run(
        connection, "passed", queues=list(deadlines), deadlines=[*map(float, deadlines.values())]
    )
    return {row["queue"]: row["passed_at"] for row in rows}


def republish_passed(
    connection: Connection[Any], passed_at: Mapping[str, datetime], most: int, limit: int
) -> list[Row]:
    """Give up to `limit` steps whose messages were lost back to the relay; each at most `most` times."""
    return _run(
        connection,
        "republish_passed",
        queues=list(passed_at),
        passed=list(passed_at.values()),
        most=most,
        limit=limit,
    )


def take_lost(
    connection: Connection[Any], passed_at: Mapping[str, datetime], most: int, limit: int
) -> list[Row]:
    """Lock up to `limit` steps whose messages were lost once more after that."""
    return _run(
        connection,
        "take_lost",
        queues=list(passed_at),
        passed=list(passed_at.values()),
        most=most,
        limit=limit,
    )


def queues_to_probe(
    connection: Connection[Any], queues: list[str], waiting: float, every: float
) -> list[str]:
    """Queues in which something has waited for `waiting` seconds, without a probe in the last `every`."""
    rows = _run(connection, "queues_to_probe", queues=queues, waiting=waiting, every=every)
    return [row["queue"] for row in rows]


def forget_probes(connection: Connection[Any]) -> None:
    """Delete the rows of old probes."""
    _run(connection, "forget_probes")


def open_workflows(
    connection: Connection[Any], after: tuple[datetime, UUID], older_than: float, limit: int
) -> list[Row]:
    """Up to `limit` open workflows behind that place, accepted `older_than` seconds ago; many share a moment."""
    return _run(
        connection,
        "open_workflows",
        after=after[0],
        after_id=after[1],
        older_than=older_than,
        limit=limit,
    )


def finished_but_open(connection: Connection[Any], workflow_ids: list[Any]) -> list[Any]:
    """Those of which every step has ended."""
    return [row["workflow_id"] for row in _run(connection, "finished_but_open", ids=workflow_ids)]
