"""Runs the product's statements by their names."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from services.queries import load_queries

_SQL = (
    load_queries("services.adapters", "sign_ins.sql")
    | load_queries("services.adapters", "notices.sql")
    | load_queries("services.adapters", "verdicts.sql")
    | load_queries("services.adapters", "events.sql")
    | load_queries("services.adapters", "incidents.sql")
    | load_queries("services.adapters", "digests.sql")
    | load_queries("services.adapters", "history.sql")
)
# The claim is read together with all that its message says: one round trip before each call.
_SQL["claim_notice"] = _SQL["claim_notice"].format(notice=_SQL["notice"].rstrip(";"))
Row = dict[str, Any]


class Rows:
    """What each part of the product reads and writes on one connection."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def _run(self, name: str, **values: Any) -> list[Row]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL[name], values)
            return cursor.fetchall() if cursor.description else []
