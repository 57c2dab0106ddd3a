"""Takes a workflow into the ledger that something else than a login causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import Connection

from services.ledger import store
from services.ledger.message import Message

if TYPE_CHECKING:
    from services.ledger.planning import Plan


@dataclass(frozen=True, slots=True)
class NewWorkflow:
    """A workflow that is to begin.

    name: what kind it is, such as `export`; the main workflow is `login`.
    user_id: whom it is about; None: about no single user.
    """

    id: UUID
    name: str
    tenant_id: str
    user_id: str | None


def start(connection: Connection[Any], workflow: NewWorkflow, plan: Plan) -> Sequence[Message]:
    """Write the workflow and its planned steps in the caller's transaction.

    Returns what to publish once that is committed; what is not, the relay publishes.
    """
    store.insert_workflow(
        connection, workflow.id, workflow.name, workflow.tenant_id, workflow.user_id
    )
    store.insert_workflows(connection, [(workflow.id, plan)])
    return plan.messages
