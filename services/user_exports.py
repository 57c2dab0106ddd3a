"""Begins the export of what is kept about a user; of one user one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection

from services import personal_data
from services.ledger.labels import label_of
from services.ledger.message import Message
from services.ledger.planning import Plan
from services.ledger.starting import NewWorkflow, start


def begin_export(
    connection: Connection[Any],
    tenant: str,
    user: str,
    pseudonym: str,
    plan_export: Callable[[UUID, str], Plan],
) -> tuple[UUID, Sequence[Message]] | None:
    """The export's workflow in the caller's transaction, and what to publish once that is committed.

    While one is under way for the user it is that one, with nothing to publish. None:
    nothing is kept about the user.

    plan_export: its planned steps, by its id and the label of its steps.
    """
    if under_way := personal_data.export_under_way(connection, tenant, user):
        return under_way, ()
    if not any(personal_data.count(connection, tenant, user).values()):
        return None
    workflow_id = uuid4()
    plan = plan_export(workflow_id, label_of(workflow_id, pseudonym))
    # The name stands in SQL too: personal.sql.
    return workflow_id, start(connection, NewWorkflow(workflow_id, "export", tenant, user), plan)
