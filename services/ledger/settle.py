"""Commits units: results, joins, next messages, ended workflows, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from celery import Celery, states
from celery.canvas import group, maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, result_from_tuple
from psycopg import Connection

from services.domain.errors import MessageTooLarge
from services.ledger import store
from services.ledger.message import Message
from services.ledger.store import Execution, Row
from services.ledger.unit import JoinPart, Unit

_FAILED = ("failed", "dead", "blocked")


@dataclass(slots=True)
class Settled:
    """What a commit made due: messages to publish, workflows that ended, bodies that fired."""

    messages: list[Message] = field(default_factory=list)
    workflows: list[tuple[UUID, str]] = field(default_factory=list)
    fired: int = 0


@dataclass(frozen=True, slots=True)
class Ran:
    """A step that this process executed."""

    execution: Execution
    workflow_id: UUID | None


def settle(
    connection: Connection[Any], app: Celery, units: Sequence[Unit], ran: Mapping[str, Ran]
) -> Settled:
    """Write everything that `units` hold; `ran` names the steps that were executed for them.

    Idempotent: a done step stays done, a leaf counts once, and messages keep
    their steps' ids, so that a second copy finds its step done.
    """
    settled = Settled()
    outgoing: list[tuple[Message, str | None, UUID | None]] = []
    _resolve_joins(connection, app, units, settled)
    for unit in units:
        sender, workflow = _sender(unit, ran)
        lone = {*unit.lone}
        outgoing += [
            (message, sender, None if message.step_id in lone else workflow)
            for message in unit.messages
        ]
    _write_groups(connection, units)
    _write_results(connection, units, ran)
    latest = {message.step_id: (message, sender, flow) for message, sender, flow in outgoing}
    store.make_ready(connection, list(latest.values()))
    settled.messages = [message for message, _, _ in latest.values()]
    settled.workflows = _end_workflows(connection, units, ran)
    return settled


def _sender(unit: Unit, ran: Mapping[str, Ran]) -> tuple[str | None, UUID | None]:
    own = ran.get(unit.step_id) if unit.step_id else None
    return (unit.step_id, own.workflow_id) if own else (None, None)


def _write_groups(connection: Connection[Any], units: Sequence[Unit]) -> None:
    for unit in units:
        for group_id, text in unit.groups.items():
            store.save_group(connection, group_id, text)


def _write_results(
    connection: Connection[Any], units: Sequence[Unit], ran: Mapping[str, Ran]
) -> None:
    written = {}
    for unit in units:
        runner = unit.results.get(unit.step_id or "")
        for step_id, result in unit.results.items():
            own = ran.get(step_id)
            execution = own.execution if own else _execution_for(unit, step_id, result.status)
            # Of the rest of a chain, which it fails on a step's behalf, Celery does not say whose it is.
            if result.root_id is None and runner is not None:
                written[step_id] = (replace(result, root_id=runner.root_id), execution)
            else:
                written[step_id] = (result, execution)
    store.store_results(connection, list(written.values()))


def _execution_for(unit: Unit, step_id: str, status: str) -> Execution:
    """What is noted of a step that nobody ran, on whose behalf another one's unit holds a result."""
    if step_id in unit.unsendable:
        return Execution("dead", None, None, unit.unsendable[step_id])
    return Execution(_state_of(status), None, None)


def _state_of(status: str) -> str:
    if status == states.SUCCESS:
        return "done"
    return "blocked" if status in states.EXCEPTION_STATES - {states.RETRY} else "ready"


def _end_workflows(
    connection: Connection[Any], units: Sequence[Unit], ran: Mapping[str, Ran]
) -> list[tuple[UUID, str]]:
    ended: list[UUID] = []
    failed: list[str] = []
    for unit in units:
        sender, workflow = _sender(unit, ran)
        if unit.unsendable and sender and workflow:
            failed += unit.unsendable
            ended.append(workflow)
        for step_id in unit.results:
            own = ran.get(step_id)
            if own is None or own.workflow_id is None:
                continue
            if own.execution.state in _FAILED:
                # With what Celery failed on its behalf: the rest of a canvas that has replaced a step.
                failed += unit.results
                ended.append(own.workflow_id)
            # Who sent something on in it, or has siblings to wait for, cannot be a workflow's last.
            elif own.execution.state == "done" and not _goes_on(unit) and not unit.is_waiting:
                ended.append(own.workflow_id)
    if failed:
        store.block_after(connection, ended, failed)
    return store.finish_workflows(connection, ended)


def _goes_on(unit: Unit) -> bool:
    lone = {*unit.lone}
    return any(message.step_id not in lone for message in unit.messages)


def _declare_joins(connection: Connection[Any], units: Sequence[Unit]) -> dict[str, Row]:
    """Write what the whole list knows of joins, which locks them in one order.

    Locked unit by unit, two lists with leaves of the same joins would deadlock.
    """
    known = Unit()
    for unit in units:
        known.merge(unit)
    seen = {part.join_id for part in known.parts}
    return store.declare_joins(
        connection, known.join_sizes, known.join_headers, known.join_growth, seen
    )


def _resolve_joins(
    connection: Connection[Any], app: Celery, units: Sequence[Unit], settled: Settled
) -> None:
    """Count all leaves of the list and fire the joins that are complete; firing may end outer leaves."""
    locked = _declare_joins(connection, units)
    for unit in units:
        unit.is_waiting = bool(unit.parts)
    while pending := _taken_parts(units):
        # The last unit with a leaf of a join is the one that completes it.
        completing = {part.join_id: (unit, part.body) for unit, part in pending}
        parts = [part for _, part in pending]
        closed: dict[str, str] = {}
        for join_id, (join, leaves) in store.count_parts(connection, parts, locked).items():
            if join["size"] is None or len(leaves) < join["size"] or join["state"] == "fired":
                continue
            unit, body = completing[join_id]
            if state := _fire(app, unit, join, leaves, body):
                closed[join_id] = state
            unit.is_waiting = False
            settled.fired += 1
        store.close_joins(connection, closed)
        locked = _declare_more(connection, [unit for unit, _ in completing.values()])


def _declare_more(connection: Connection[Any], units: Sequence[Unit]) -> dict[str, Row]:
    """What firing has brought: bodies that are chords themselves, and leaves of joins around them."""
    known = Unit()
    for unit in units:
        known.join_sizes |= unit.join_sizes
        known.join_headers |= unit.join_headers
        known.parts += unit.parts
    seen = {part.join_id for part in known.parts}
    return store.declare_joins(connection, known.join_sizes, known.join_headers, {}, seen)


def _taken_parts(units: Sequence[Unit]) -> list[tuple[Unit, JoinPart]]:
    taken = [(unit, part) for unit in units for part in unit.parts]
    for unit in units:
        unit.parts = []
    return taken


def _fire(app: Celery, unit: Unit, join: Row, parts: list[Row], body: Any) -> str | None:
    """Send a complete join's body, or block it; returns the join's new state, None if it has that already."""
    callback: Any = maybe_signature(body, app=app)
    failed = next((part for part in parts if part["status"] != states.SUCCESS), None)
    unit.is_settling = True
    try:
        with unit.active(), _as_child(unit):
            if failed is None:
                _send_body(app, unit, callback, _results(app, join, parts))
                return "fired"
            if join["state"] == "blocked":
                return None
            error = app.backend.exception_to_python(app.backend.decode(failed["result"]))
            _block(app, unit, callback, f"Dependency {failed['step_id']} raised {error!r}", error)
            return "blocked"
    finally:
        unit.is_settling = False


@contextmanager
def _as_child(unit: Unit) -> Iterator[None]:
    """A body is the child of the leaf that completed its header, in that one's canvas, as with Redis.

    Celery takes that from the step that runs, and a join fires when none does any more.
    """
    leaf, messages, results = (
        unit.results.get(unit.step_id or ""),
        len(unit.messages),
        {*unit.results},
    )
    yield
    if leaf is None:
        return
    new = {step_id for step_id in unit.results if step_id not in results}
    for step_id in new:
        stored = unit.results[step_id]
        unit.results[step_id] = replace(
            stored,
            root_id=stored.root_id or leaf.root_id,
            parent_id=stored.parent_id or leaf.step_id,
        )
    for index, message in enumerate(unit.messages[messages:], messages):
        root_id, parent_id = (message.headers.get(name) for name in ("root_id", "parent_id"))
        # Without anything above it, a step is its own root; a body that is blocked is its error callbacks'.
        if root_id in (None, message.step_id, *new):
            root_id = leaf.root_id
        headers = {"root_id": root_id, "parent_id": parent_id or leaf.step_id}
        unit.messages[index] = replace(message, headers={**message.headers, **headers})


def _send_body(app: Celery, unit: Unit, callback: Any, results: list[Any]) -> None:
    """Send a join's body. One that cannot be sent fails, and not the leaf that happened to be last."""
    collected = len(unit.messages)
    try:
        callback.delay(results)
    except Exception as error:  # noqa: BLE001  # whatever it is, the header has done its work
        del unit.messages[collected:]
        reason = "too_large" if isinstance(error, MessageTooLarge) else "bug"
        unit.unsendable |= dict.fromkeys(_step_ids(callback), reason)
        _block(app, unit, callback, f"Callback error: {error!r}", error)


def _step_ids(body: Any) -> list[str]:
    members = body.tasks if isinstance(body, group) else [body]
    return [str(member.options["task_id"]) for member in members if member.options.get("task_id")]


def _block(app: Celery, unit: Unit, callback: Any, reason: str, error: Any) -> None:
    """The body will not run: its results say why, and its error callbacks fire, as Celery does it."""
    backend = app.backend
    chord_error = ChordError(reason)
    cause = error if isinstance(error, BaseException) else None
    try:
        raise chord_error from cause
    except ChordError:
        # Celery reads the traceback of the exception that is being handled.
        backend.chord_error_from_stack(callback, chord_error)
    _fail_outer_join(unit, backend, callback, chord_error)


def _fail_outer_join(unit: Unit, backend: Any, callback: Any, error: Exception) -> None:
    """A body that will not run is also a leaf of the chord around it, which must not wait for it."""
    options = callback.options
    outer, group_id = options.get("chord"), options.get("group_id")
    if outer is None or group_id is None or any(p.join_id == group_id for p in unit.parts):
        return
    unit.parts.append(
        JoinPart(
            join_id=group_id,
            step_id=options["task_id"],
            position=options.get("group_index"),
            status=states.FAILURE,
            result=backend.encode(backend.encode_result(error, states.FAILURE)),
            body=outer,
        )
    )


def _results(app: Celery, join: Row, parts: list[Row]) -> list[Any]:
    """The header's results: nested as the header was, else in its order."""
    decoded = {part["step_id"]: app.backend.decode(part["result"]) for part in parts}
    if join["header"] is None:
        return list(decoded.values())
    header = result_from_tuple(app.backend.decode(join["header"]), app)
    nested: list[Any] = _nest(header, decoded)
    # Leaves that joined later (Task.add_to_chord) are in no declared shape.
    return nested + list(decoded.values())


def _nest(result: Any, decoded: dict[str, Any]) -> Any:
    if isinstance(result, GroupResult):
        return [_nest(child, decoded) for child in result.results or ()]
    return decoded.pop(result.id, None)
