"""What the ledger says about a tenant's workflows, devices and switches."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from services.gateway.answers import (
    Device,
    DeviceList,
    Step,
    Switch,
    Switches,
    SwitchList,
    VerdictAnswer,
    Workflow,
    WorkflowPage,
    WorkflowState,
)
from services.gateway.erasure_answers import Erasure
from services.ledger.lineage import lineage
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "reads.sql").items()}
_MAX_DEVICES = 1_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last workflow of a page; the next one begins after it."""

    accepted_at: datetime
    workflow_id: UUID

    def encode(self) -> str:
        text = f"{self.accepted_at.isoformat()} {self.workflow_id}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises ValueError for a text that `encode` did not write."""
        try:
            time, _, workflow_id = base64.urlsafe_b64decode(text).decode().partition(" ")
        except binascii.Error as error:
            raise ValueError(str(error)) from error
        accepted_at = datetime.fromisoformat(time)
        if accepted_at.tzinfo is None:
            raise ValueError("no time zone")
        return cls(accepted_at, UUID(workflow_id))


def find_workflow(
    connection: psycopg.Connection[Any], tenant: str, workflow_id: UUID
) -> Workflow | None:
    """The workflow of this id, or with a step of this id, unless it is not there or another tenant's."""
    rows = _fetch(connection, "find_workflows", tenant=tenant, workflow=workflow_id)
    if not rows:
        rows = _fetch(connection, "workflow_of_step", tenant=tenant, step=str(workflow_id))
    found = _workflows(connection, rows)
    return found[0] if found else None


def page_of_workflows(
    connection: psycopg.Connection[Any],
    tenant: str,
    user_id: str,
    limit: int,
    cursor: Cursor | None,
) -> WorkflowPage:
    """Up to `limit` of a user's workflows. What is accepted meanwhile shifts nothing."""
    rows = _fetch(
        connection,
        "page_of_workflows",
        tenant=tenant,
        user=user_id,
        before=cursor.accepted_at if cursor else None,
        before_id=cursor.workflow_id if cursor else None,
        limit=limit + 1,
    )
    page = _workflows(connection, rows[:limit])
    has_more = len(rows) > limit
    return WorkflowPage(
        workflows=page,
        next_cursor=Cursor(page[-1].accepted_at, page[-1].workflow_id).encode()
        if has_more
        else None,
    )


def devices_of_user(connection: psycopg.Connection[Any], tenant: str, user_id: str) -> DeviceList:
    rows = _fetch(connection, "devices_of_user", tenant=tenant, user=user_id, limit=_MAX_DEVICES)
    return DeviceList(user_id=user_id, devices=[Device(**row) for row in rows])


def switches_of_user(connection: psycopg.Connection[Any], tenant: str, user_id: str) -> SwitchList:
    flipped = {
        row.pop("name"): Switch(**row)
        for row in _fetch(connection, "switches_of_user", tenant=tenant, user=user_id)
    }
    off = Switch(is_on=False, changed_at=None, expires_at=None)
    return SwitchList(
        user_id=user_id,
        switches=Switches(
            require_step_up=flipped.get("require_step_up", off), locked=flipped.get("locked", off)
        ),
    )


def archive_of(connection: psycopg.Connection[Any], tenant: str, workflow_id: UUID) -> bytes | None:
    """What an export was packed into, unless it is not there or another tenant's."""
    rows = _fetch(connection, "archive", tenant=tenant, workflow=workflow_id)
    return bytes(rows[0]["archive"]) if rows else None


def find_erasure(
    connection: psycopg.Connection[Any], tenant: str, erasure_id: UUID
) -> Erasure | None:
    """How far an erasure is, unless it is not there or another tenant's."""
    rows = _fetch(connection, "erasure", tenant=tenant, erasure=erasure_id)
    return Erasure(**rows[0]) if rows else None


def _fetch(connection: psycopg.Connection[Any], name: str, **values: object) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL[name], values).fetchall()


def _workflows(connection: psycopg.Connection[Any], rows: Sequence[Row]) -> list[Workflow]:
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    found: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in _fetch(connection, "steps_of_workflows", workflows=ids):
        found[row["workflow_id"]].append(row)
    steps = {each: [Step(**step) for step in lineage(found[each])] for each in ids}
    verdicts = {
        row.pop("workflow_id"): VerdictAnswer(**row)
        for row in _fetch(connection, "verdicts_of_workflows", workflows=ids)
    }
    return [
        Workflow(
            workflow_id=row["id"],
            name=row["name"],
            state=shown_state(row["state"], steps[row["id"]]),
            user_id=row["user_id"],
            event_id=row["event_id"],
            accepted_at=row["accepted_at"],
            finished_at=row["finished_at"],
            steps=steps[row["id"]],
            verdict=verdicts.get(row["id"]),
        )
        for row in rows
    ]


def shown_state(state: WorkflowState, steps: Sequence[Step]) -> WorkflowState:
    """`running` is not stored: it is an accepted workflow of which some step is done."""
    has_begun = any(step.state == "done" for step in steps)
    return "running" if state == "accepted" and has_begun else state
