"""Where the database keeps what is about a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import Connection, sql
from psycopg.rows import dict_row

from services.queries import load_queries

Owner = Literal["of_user", "of_workflow", "of_notice"]


@dataclass(frozen=True, slots=True)
class Place:
    """A table with rows about users, and how it is known whose they are."""

    table: str
    owner: Owner


PLACES = (
    Place("application_event", "of_user"),
    Place("folded_notice", "of_workflow"),
    Place("notice_answer", "of_notice"),
    Place("receipt", "of_notice"),
    Place("notice", "of_workflow"),
    Place("verdict", "of_workflow"),
    Place("login", "of_workflow"),
    Place("device_cookie", "of_user"),
    Place("device", "of_user"),
    Place("user_network", "of_user"),
    Place("unsubscribed", "of_user"),
    Place("switch", "of_user"),
    Place("switch_change", "of_user"),
    Place("failed_step", "of_workflow"),
    Place("reported_login", "of_workflow"),
    Place("idempotency_key", "of_workflow"),
    Place("step", "of_workflow"),
    Place("workflow", "of_user"),
)
"""In the order in which they can be emptied: who refers to another's rows comes first."""

_SQL = load_queries("services", "personal.sql")


def export(connection: Connection[Any], tenant: str, user: str) -> dict[str, list[Any]]:
    """All rows about a user, by table."""
    return {
        place.table: [row["row"] for row in _run(connection, "rows", place, tenant, user)]
        for place in PLACES
    }


def count(connection: Connection[Any], tenant: str, user: str) -> dict[str, int]:
    """How many rows there are about a user, by table."""
    return {
        place.table: int(_run(connection, "count", place, tenant, user)[0]["rows"])
        for place in PLACES
    }


def erase(connection: Connection[Any], tenant: str, user: str) -> Mapping[str, int]:
    """Delete all rows about a user in the caller's transaction; how many, by table."""
    return {
        place.table: _execute(connection, "delete", place, tenant, user).rowcount
        for place in PLACES
    }


def _run(
    connection: Connection[Any], name: str, place: Place, tenant: str, user: str
) -> list[dict[str, Any]]:
    return list(_execute(connection, name, place, tenant, user).fetchall())


def _execute(connection: Connection[Any], name: str, place: Place, tenant: str, user: str) -> Any:
    # The text is of a file of ours, and the table's name is quoted.
    statement = sql.SQL(_SQL[name]).format(
        table=sql.Identifier(place.table),
        condition=sql.SQL(_SQL[place.owner]),
    )
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(statement, {"tenant": tenant, "user": user})
