"""Rows, units and messages as a worker would make them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from psycopg import Connection

from services.ledger import store
from services.ledger.message import Message
from services.ledger.planning import Plan, PlannedStep
from services.ledger.settle import Ran, Settled, settle
from services.ledger.store import Execution
from services.ledger.unit import JoinPart, StoredResult, Unit

TASK = "db_writes.save_event"


def message(
    step_id: str = "", retries: int = 0, queue: str = "db_writes", exchange: str = "doorbell"
) -> Message:
    """A message of Celery's protocol 2, complete enough to be published and recognised."""
    step_id = step_id or str(uuid4())
    headers = {"id": step_id, "task": TASK, "retries": retries, "root_id": step_id}
    properties = {"correlation_id": step_id}
    return Message(step_id, TASK, exchange, queue, headers, properties, '[["w"], {}, {}]')


def result_of(step_id: str, status: str = "SUCCESS", value: str = "1") -> StoredResult:
    return StoredResult(step_id, status, value, None, None, TASK, None, None, 0)


def ran(state: str = "done", workflow_id: UUID | None = None) -> Ran:
    return Ran(Execution(state, "host", datetime.now(UTC)), workflow_id)


def leaf(app: Celery, join_id: str, step_id: str, position: int = 0, failed: bool = False) -> Unit:
    """What one finished leaf of a header leaves behind; its body is `<join>-body`."""
    body: Any = app.signature(TASK, task_id=f"{join_id}-body")
    value = '{"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}'
    status, text = ("FAILURE", value) if failed else ("SUCCESS", str(position))
    part = JoinPart(join_id, step_id, position, status, text, dict(body))
    return Unit(step_id, results={step_id: result_of(step_id, status, text)}, parts=[part])


def declare(connection: Connection[Any], app: Celery, join_id: str, size: int) -> None:
    settle(connection, app, [Unit(join_sizes={join_id: size})], {})
    connection.commit()


def commit(
    connection: Connection[Any],
    app: Celery,
    units: Sequence[Unit],
    workflow_id: UUID | None = None,
    state: str = "done",
) -> Settled:
    """Settle and commit units of steps that this process executed."""
    notes = {unit.step_id: ran(state, workflow_id) for unit in units if unit.step_id}
    settled = settle(connection, app, units, notes)
    connection.commit()
    return settled


def plan_steps(
    connection: Connection[Any], workflow_id: UUID, after: dict[str, tuple[str, ...]]
) -> None:
    """Planned steps of a workflow: each step's id with its predecessors."""
    steps = tuple(
        PlannedStep(step_id, TASK, "db_writes", before, position)
        for position, (step_id, before) in enumerate(after.items())
    )
    store.insert_workflows(connection, [(workflow_id, Plan(steps))])
    connection.commit()
