"""What is kept for a time only goes when that is over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

from psycopg import Connection

from services.queries import load_queries

_SQL = {
    name: text.encode() for name, text in load_queries("services.adapters", "retention.sql").items()
}

KEYS_DAYS = 366
"""One day longer than a login may be old when it is reported: until then a repetition is known as one."""

EXPORTS_DAYS = 1
"""So long can what was exported be fetched."""

IMPORTS_DAYS = 1
"""So long an import waits to be gone on with; one that has begun is kept for seven times as long."""

_ROUND_SECONDS = 20.0
_MOST = 500


def forget_old(
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
    addresses_days: int,
    logins_days: int,
) -> dict[str, int]:
    """Truncate addresses and delete logins that are older, in short transactions, for some seconds; how many.

    0 days: for ever. Idempotent; what is left is the next round's.
    """
    wanted = {
        "truncate_addresses": addresses_days,
        "delete_workflows": logins_days,
        "delete_events": logins_days,
        "delete_keys": KEYS_DAYS if logins_days else 0,
        "delete_exports": EXPORTS_DAYS,
        "delete_import_logins": IMPORTS_DAYS,
        "delete_imports": IMPORTS_DAYS,
    }
    until = monotonic() + _ROUND_SECONDS
    return {name: _all(connect, name, days, until) if days else 0 for name, days in wanted.items()}


def _all(
    connect: Callable[[], AbstractContextManager[Connection[Any]]],
    name: str,
    days: int,
    until: float,
) -> int:
    done = 0
    while monotonic() < until:
        with connect() as connection:
            row = connection.execute(_SQL[name], {"days": days, "most": _MOST}).fetchone()
        found = int(row[0]) if row else 0
        done += found
        if found < _MOST:
            break
    return done
