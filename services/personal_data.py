"""Where the database keeps what is about a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import dict_row

from services.queries import load_queries

Owner = Literal["of_user", "of_workflow", "of_notice"]


@dataclass(frozen=True, slots=True)
class Place:
    """A table with rows about users, and how it is known whose they are.

    is_copy: of what other tables have.
    """

    table: str
    owner: Owner
    is_copy: bool = False


PLACES = (
    Place("export_part", "of_workflow", is_copy=True),
    Place("export_archive", "of_workflow", is_copy=True),
    Place("import_login", "of_user"),
    Place("application_event", "of_user"),
    Place("digest_device", "of_workflow"),
    Place("digest", "of_user"),
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
    Place("incident_user", "of_user"),
    Place("switch", "of_user"),
    Place("switch_change", "of_user"),
    Place("failed_step", "of_workflow"),
    Place("reported_login", "of_workflow"),
    Place("idempotency_key", "of_workflow"),
    Place("step", "of_workflow"),
    Place("unplanned_workflow", "of_workflow"),
    Place("workflow", "of_user"),
)
"""In the order in which they can be emptied: who refers to another's rows comes first."""

COPIES = tuple(place for place in PLACES if place.is_copy)
"""What was put together from the other places; it can be emptied alone."""

_SQL = load_queries("services", "personal.sql")


def collect(connection: Connection[Any], tenant: str, user: str, export: UUID) -> int:
    """Put all rows about a user aside for an export, in the caller's transaction; how many."""
    return sum(
        row["rows"]
        for place in PLACES
        if not place.is_copy
        for row in _execute(connection, "collect", place, tenant, user, export=export)
    )


def export_under_way(connection: Connection[Any], tenant: str, user: str) -> UUID | None:
    """The user's export that has not ended; until the caller's transaction ends nobody else begins one."""
    who = {"tenant": tenant, "user": user}
    connection.execute(_SQL["lock_exports"].encode(), who)
    row = connection.execute(_SQL["export_under_way"].encode(), who).fetchone()
    return row[0] if row else None


def count(connection: Connection[Any], tenant: str, user: str) -> dict[str, int]:
    """How many rows there are about a user, by table."""
    return {
        place.table: int(_execute(connection, "count", place, tenant, user).fetchone()["rows"])
        for place in PLACES
    }


def erase(
    connection: Connection[Any], tenant: str, user: str, places: Sequence[Place] = PLACES
) -> Mapping[str, int]:
    """Delete all rows about a user in the caller's transaction; how many, by table."""
    return {
        place.table: _execute(connection, "delete", place, tenant, user).rowcount
        for place in places
    }


def _execute(
    connection: Connection[Any], name: str, place: Place, tenant: str, user: str, **more: object
) -> Any:
    # The text is of a file of ours, and the table's name is quoted.
    statement = sql.SQL(_SQL[name]).format(
        table=sql.Identifier(place.table),
        name=sql.Literal(place.table),
        condition=sql.SQL(_SQL[place.owner]),
    )
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(statement, {"tenant": tenant, "user": user, **more})
