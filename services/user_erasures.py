"""Begins the erasure of what is kept about a user; of one user one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import dict_row

from services import personal_data
from services.ledger.labels import label_of
from services.ledger.message import Message
from services.ledger.planning import Plan
from services.ledger.starting import NewWorkflow, start
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries("services", "erasures.sql").items()}


def begin_erasure(
    connection: Connection[Any],
    tenant: str,
    user: str,
    pseudonym: str,
    asked_by: str,
    plan_erasure: Callable[[UUID, str], Plan],
) -> tuple[UUID, Sequence[Message]] | None:
    """The erasure's workflow in the caller's transaction, and what to publish once that is committed.

    From then on no login of before is asked about again. While one is under way for the user it
    is that one, with nothing to publish, unless the user has come back since it deleted the rows: then, and
    when one of before was given up, a new one takes its place. None: nothing is kept about the user, and nobody of
    that name was ever erased.

    The workflow and the erasure have one id. The workflow is about nobody, so that nothing of the user is left in it.

    asked_by: for the trail and the certificate.
    plan_erasure: its planned steps, by its id and the label of its steps.
    """
    whose = {"tenant": tenant, "user": user, "pseudonym": pseudonym}
    _run(connection, "lock_erasures", **whose)
    before = _run(connection, "before", **whose)
    [farewells] = _run(connection, "farewells", **whose)
    is_kept = sum(personal_data.count(connection, tenant, user).values()) > farewells["rows"]
    for row in before:
        if row["is_under_way"] and not (row["is_erased"] and is_kept):
            return row["id"], ()
    if not is_kept and not before:
        return None
    erasure_id = uuid4()
    _run(connection, "ask", id=erasure_id, asked_by=asked_by, **whose)
    for query in ("take_over", "supersede", "ask_no_more"):
        _run(connection, query, id=erasure_id, **whose)
    _run(connection, "note", subject=f"{pseudonym} of {tenant}", actor=asked_by)
    plan = plan_erasure(erasure_id, label_of(erasure_id, pseudonym))
    return erasure_id, start(connection, NewWorkflow(erasure_id, "erasure", tenant, None), plan)


def was_erased(connection: Connection[Any], tenant: str, user: str, pseudonym: str) -> bool:
    """Whether somebody has asked for this user's erasure before."""
    return bool(_run(connection, "before", tenant=tenant, user=user, pseudonym=pseudonym))


def _run(connection: Connection[Any], query: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[query], values)
        return cursor.fetchall() if cursor.description else []
