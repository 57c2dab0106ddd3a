"""The ledger's SQL as functions of a connection; the caller owns the transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from services.ledger.message import Message, replacements_of
from services.ledger.shape import has_links, shape_of_message
from services.ledger.unit import JoinPart, StoredResult
from services.queries import load_queries

if TYPE_CHECKING:
    from services.ledger.planning import Plan

_SQL = load_queries("services.ledger", "steps.sql") | load_queries("services.ledger", "joins.sql")

Row = dict[str, Any]

_REVOKE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Execution:
    """Who ran a step; all but `state` None when it was written on behalf of another step."""

    state: str
    host: str | None
    started_at: datetime | None
    reason: str | None = None


def _run(connection: Connection[Any], name: str, **values: Any) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name].encode(), values)
        return cursor.fetchall() if cursor.description else []


def lock_steps(
    connection: Connection[Any],
    messages: Sequence[tuple[str, str, str, str | None, str | None, int]],
    shape_of: Callable[[str], str | None] = lambda _: None,
) -> dict[str, Row]:
    """Lock the rows of delivered steps; a step seen for the first time gets one.

    messages: (id, task, queue, root_id, parent_id, retries) of each delivery.
    shape_of: the place in its canvas of a step seen for the first time, by its id (`services.ledger.shape`).
    """
    ids = [message[0] for message in messages]
    rows = {row["id"]: row for row in _run(connection, "lock_steps", ids=ids)}
    new = [message for message in messages if message[0] not in rows]
    if new:
        columns = [list(column) for column in zip(*new, strict=True)]
        names = ("ids", "tasks", "queues", "roots", "parents", "retries")
        canvases = [shape_of(message[0]) for message in new]
        _run(connection, "appear", canvases=canvases, **dict(zip(names, columns, strict=True)))
        rows = {row["id"]: row for row in _run(connection, "lock_steps", ids=ids)}
    return rows


def limit_statements(
    connection: Connection[Any],
    run_seconds: float | None,
    lock_seconds: float,
    for_session: bool = False,
) -> None:
    """For this transaction: cancel what runs for longer, and fail what waits longer for a row's lock.

    for_session: the limits outlast the transaction, unless it is rolled back.
    """
    _run(
        connection,
        "limit_statements",
        transaction_only=not for_session,
        # 0 is none.
        run_milliseconds=str(max(1, int(run_seconds * 1000)) if run_seconds else 0),
        lock_milliseconds=str(max(1, int(lock_seconds * 1000))),
    )


def count_redelivery(connection: Connection[Any], step_id: str) -> tuple[int, bool]:
    """Count one more start of a redelivered step.

    Returns how often it was started again, and whether it has passed its hard
    limit before.
    """
    rows = _run(connection, "count_redelivery", id=step_id)
    return (int(rows[0]["redeliveries"]), bool(rows[0]["is_late"])) if rows else (0, False)


def lease(
    connection: Connection[Any],
    steps: Sequence[tuple[str, float, bool, datetime | None, datetime | None]],
) -> dict[str, datetime]:
    """Reserve steps' calls for this process; until when, of those that no other one is at.

    steps: id, seconds, whether it was redelivered, and the ends of the reservations that this process may renew:
        the one that it made before, and one whose commit was never answered.
    connection: a session that lives as long as the process: while it does, no redelivery takes the
        reservation over before its end.
    """
    ids, seconds, redelivered, ours, asked = ([*column] for column in zip(*steps, strict=True))
    rows = _run(
        connection,
        "lease_steps",
        ids=ids,
        seconds=seconds,
        redelivered=redelivered,
        ours=ours,
        asked=asked,
    )
    return {row["id"]: row["lease_until"] for row in rows}


def revoke(connection: Connection[Any], step_id: str, result: str) -> None:
    """Keep that a step is not wanted any more, unless it has ended.

    Raises psycopg.errors.LockNotAvailable when its row is held for longer than a
    second: workers call this on the loop that sends their heartbeats.
    """
    limit_statements(connection, _REVOKE_SECONDS, _REVOKE_SECONDS)
    _run(connection, "revoke", id=step_id, result=result)


def note_hard_limit(connection: Connection[Any], step_id: str, host: str) -> None:
    """Keep that a step passed its hard limit; its row is locked by whoever runs it."""
    _run(connection, "note_hard_limit", id=step_id, host=host)


def store_results(
    connection: Connection[Any], results: Sequence[tuple[StoredResult, Execution]]
) -> None:
    """Write states and results; a step that is done stays as it is."""
    if not results:
        return
    _run(
        connection,
        "store_results",
        ids=[r.step_id for r, _ in results],
        tasks=[r.task for r, _ in results],
        states=[e.state for _, e in results],
        statuses=[r.status for r, _ in results],
        results=[r.result for r, _ in results],
        tracebacks=[_storable(r.traceback) for r, _ in results],
        children=[r.children for r, _ in results],
        roots=[r.root_id for r, _ in results],
        parents=[r.parent_id for r, _ in results],
        retries=[r.retries for r, _ in results],
        hosts=[e.host for _, e in results],
        started=[e.started_at for _, e in results],
        attempts=[0 if e.host is None else 1 for _, e in results],
        reasons=[e.reason for _, e in results],
    )


def _storable(text: str | None) -> str | None:
    # PostgreSQL's text has no NUL and no lone surrogates; a traceback may quote some.
    if text is None:
        return None
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def make_ready(
    connection: Connection[Any], messages: Sequence[tuple[Message, str | None, UUID | None]]
) -> None:
    """Write (message, id of the sending step, its workflow) as steps that wait for being published."""
    if not messages:
        return
    _run(
        connection,
        "make_ready",
        ids=[m.step_id for m, _, _ in messages],
        workflows=[workflow for _, _, workflow in messages],
        tasks=[m.task for m, _, _ in messages],
        queues=[m.queue for m, _, _ in messages],
        states=["retrying" if m.retries else "ready" for m, _, _ in messages],
        senders=[sender for _, sender, _ in messages],
        roots=[m.headers.get("root_id") for m, _, _ in messages],
        parents=[m.headers.get("parent_id") for m, _, _ in messages],
        messages=[m.to_json() for m, _, _ in messages],
        canvases=[_shape_to_keep(m, workflow) for m, _, workflow in messages],
        retries=[m.retries for m, _, _ in messages],
        replacements=[replacements_of(m.headers) for m, _, _ in messages],
        delays=[float(m.delay_seconds) for m, _, _ in messages],
    )


def _shape_to_keep(message: Message, workflow: UUID | None) -> str | None:
    # A workflow's steps are planned: there this is for what its plan does not know.
    return shape_of_message(message) if workflow is None or has_links(message) else None


def mark_published(
    connection: Connection[Any], confirmed: Sequence[str], messages: Sequence[Message] = ()
) -> None:
    """Note that the broker confirmed these steps' messages. Idempotent.

    messages: what was published; only first attempts may be left out. A step
    that has a newer message by now, a retry, is not marked.
    """
    retries = {message.step_id: message.retries for message in messages}
    note_confirms(connection, [(step_id, retries.get(step_id, 0), 0.0) for step_id in confirmed])


def note_confirms(connection: Connection[Any], confirms: Sequence[tuple[str, int, float]]) -> None:
    """As `mark_published`, of confirms that came before. Idempotent.

    confirms: each message's step, its retries, and how many seconds ago the broker confirmed it.
    """
    if confirms:
        ids, retries, ages = ([*column] for column in zip(*confirms, strict=True))
        _run(connection, "mark_published", ids=ids, retries=retries, ages=ages)


def unpublished_of(connection: Connection[Any], step_ids: Sequence[str]) -> list[Message]:
    """Messages that these steps (or their own retries) made ready and nobody saw confirmed."""
    rows = _run(connection, "unpublished_of_senders", ids=list(step_ids))
    return [Message.from_json(row["message"]) for row in rows]


def take_unpublished(
    connection: Connection[Any],
    older_than_seconds: float,
    limit: int,
    except_queues: Iterable[str] = (),
) -> list[Message]:
    """Lock up to `limit` messages that nobody has seen confirmed for so long."""
    rows = _run(
        connection,
        "take_unpublished",
        older_than=older_than_seconds,
        limit=limit,
        except_queues=sorted(except_queues),
    )
    return [Message.from_json(row["message"]) for row in rows]


def read_step(connection: Connection[Any], step_id: str) -> Row | None:
    """One step's row for Celery's AsyncResult; None when nobody knows it."""
    rows = _run(connection, "read_step", id=step_id)
    return rows[0] if rows else None


def forget(connection: Connection[Any], step_id: str) -> None:
    """Drop a step's result; its row stays."""
    _run(connection, "forget", id=step_id)


def insert_workflow(
    connection: Connection[Any], workflow_id: UUID, name: str, tenant_id: str, user_id: str | None
) -> None:
    """Write the row of a workflow that no login causes."""
    _run(connection, "insert_workflow", id=workflow_id, kind=name, tenant=tenant_id, user=user_id)


def insert_workflows(connection: Connection[Any], workflows: Sequence[tuple[UUID, Plan]]) -> None:
    """Write the planned steps of accepted workflows, and joins they begin with; their own rows must exist."""
    for _, plan in workflows:
        declare_joins(connection, plan.join_sizes, plan.join_headers, {}, ())
    steps = [(workflow, step) for workflow, plan in workflows for step in plan.steps]
    if not steps:
        return
    _run(
        connection,
        "insert_planned",
        ids=[step.id for _, step in steps],
        workflows=[workflow for workflow, _ in steps],
        positions=[step.position for _, step in steps],
        tasks=[step.task for _, step in steps],
        queues=[step.queue for _, step in steps],
        after=[" ".join(step.after) for _, step in steps],
        roots=[step.root_id for _, step in steps],
        messages=[step.message.to_json() if step.message else None for _, step in steps],
        canvases=[step.canvas for _, step in steps],
        delays=[
            (step.message.delay_seconds or None) if step.message else None for _, step in steps
        ],
    )


def finish_workflows(
    connection: Connection[Any], workflow_ids: Iterable[UUID]
) -> list[tuple[UUID, str]]:
    """End those workflows of which no step can go on; returns them with their states."""
    ids = sorted(set(workflow_ids))
    if not ids:
        return []
    _run(connection, "lock_workflows", ids=ids)
    return [(row["id"], row["state"]) for row in _run(connection, "finish_workflows", ids=ids)]


def block_after(
    connection: Connection[Any], workflow_ids: Iterable[UUID], step_ids: Iterable[str]
) -> None:
    """Block the planned steps behind steps that failed for good."""
    _run(connection, "block_after", workflows=sorted(set(workflow_ids)), ids=list(step_ids))


def declare_joins(
    connection: Connection[Any],
    sizes: Mapping[str, int],
    headers: Mapping[str, str],
    growth: Mapping[str, int],
    seen: Iterable[str],
) -> dict[str, Row]:
    """Write what is known of joins, and lock them; `seen` ones may not be declared yet."""
    ids = sorted({*sizes, *headers, *growth, *seen})
    if not ids:
        return {}
    rows = _run(
        connection,
        "declare_joins",
        ids=ids,
        sizes=[sizes.get(join_id) for join_id in ids],
        headers=[headers.get(join_id) for join_id in ids],
        growth=[growth.get(join_id, 0) for join_id in ids],
    )
    return {row["id"]: row for row in rows}


def count_parts(
    connection: Connection[Any], parts: Sequence[JoinPart], locked: Mapping[str, Row]
) -> dict[str, tuple[Row, list[Row]]]:
    """Add finished leaves of joins that are locked; returns each join with all its parts."""
    unique = {(part.join_id, part.step_id): part for part in parts}
    counted: dict[str, tuple[Row, list[Row]]] = {
        join_id: (locked[join_id], []) for join_id, _ in unique
    }
    rows = _run(
        connection,
        "add_parts",
        joins=[part.join_id for part in unique.values()],
        steps=[part.step_id for part in unique.values()],
        positions=[part.position for part in unique.values()],
        statuses=[part.status for part in unique.values()],
        results=[part.result for part in unique.values()],
    )
    for row in rows:
        counted[row["join_id"]][1].append(row)
    return counted


def close_joins(connection: Connection[Any], closed: Mapping[str, str]) -> None:
    """Note which joins have fired or blocked their bodies: states by join."""
    if closed:
        _run(connection, "close_joins", ids=list(closed), states=list(closed.values()))


def delete_unplanned(connection: Connection[Any], older_than_seconds: float) -> None:
    """Delete ended steps, joins and groups that belong to no workflow; workflows have a retention of their own."""
    for name in ("delete_unplanned_steps", "delete_joins", "delete_groups"):
        _run(connection, name, older_than=older_than_seconds)


def save_group(connection: Connection[Any], group_id: str, result: str) -> None:
    """Keep a GroupResult's shape."""
    _run(connection, "save_group", id=group_id, result=result)


def restore_group(connection: Connection[Any], group_id: str) -> tuple[Any, datetime] | None:
    """A saved GroupResult's shape and when it was saved."""
    rows = _run(connection, "restore_group", id=group_id)
    return (json.loads(rows[0]["result"]), rows[0]["saved_at"]) if rows else None


def delete_group(connection: Connection[Any], group_id: str) -> None:
    """Forget a saved GroupResult."""
    _run(connection, "delete_group", id=group_id)
