"""Celery's result backend on the ledger, with a native chord join."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError
from celery.result import GroupResult

from services.ledger import store
from services.ledger.settle import settle
from services.ledger.unit import JoinPart, StoredResult, Unit, active_unit
from services.observability.redaction import redact, redact_values


class LedgerBackend(BaseBackend):
    """Reads and writes steps.

    Inside a step's execution everything is written into the active unit and
    committed with it, so `store_result` is an echo of one commit. Outside (a
    programmer's script, the worker's own main loop) each call is its own
    transaction. Joins follow Celery's Redis backend: leaves of the header are
    counted by the group id they carry, and the body is sent by the last one.

    `app.ledger` must give `connection()`: a context manager that yields a
    psycopg connection and commits.
    """

    app: Any
    expires: int | None
    supports_autoexpire = False  # beat then schedules celery.backend_cleanup
    persistent = True

    def _write(self, unit: Unit) -> None:
        current = active_unit()
        if current is not None:
            current.merge(unit)
            return
        with self.app.ledger.connection() as connection:
            messages = settle(connection, self.app, [unit], {}).messages
        self.app.ledger.publish(messages)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> None:
        children = self.current_task_children(request) if request else None
        if state in states.EXCEPTION_STATES:
            # An error may quote what it met; whoever reads the ledger or Flower need not.
            result, traceback = redact_values(result), traceback and redact(str(traceback))
        stored = StoredResult(
            step_id=task_id,
            status=state,
            result=self._json(result),
            traceback=str(traceback) if traceback else None,
            children=self._json(children) if children else None,
            task=getattr(request, "task", None),
            root_id=getattr(request, "root_id", None),
            parent_id=getattr(request, "parent_id", None),
            retries=getattr(request, "retries", None) or 0,
        )
        self._write(Unit(results={task_id: stored}))

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Note the wish to revoke a step, by worker's remote control: who is delivered it fails it.

        Kept in the ledger, so that it outlives the workers. A step that has
        ended stays as it is.
        """
        result = self._json(self.encode_result(TaskRevokedError(reason), state))
        with self.app.ledger.connection() as connection:
            store.revoke(connection, task_id, result)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        unit = active_unit()
        if unit is not None and task_id in unit.results:
            return self._meta_of_stored(unit.results[task_id])
        with self.app.ledger.connection() as connection:
            row = store.read_step(connection, task_id)
        if row is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        meta = {
            "task_id": task_id,
            "status": row["status"],
            "result": json.loads(row["result"]) if row["result"] else None,
            "traceback": row["traceback"],
            "children": self._children(row["children"]),
            "date_done": row["finished_at"],
            "name": row["task"],
            "queue": row["queue"],
            "retries": row["retries"],
            "worker": row["host"],
            "parent_id": row["parent_id"],
        }
        return self.meta_from_decoded(meta)

    def _meta_of_stored(self, stored: StoredResult) -> dict[str, Any]:
        return self.meta_from_decoded(
            {
                "task_id": stored.step_id,
                "status": stored.status,
                "result": json.loads(stored.result) if stored.result else None,
                "traceback": stored.traceback,
                "children": self._children(stored.children),
            }
        )

    def _json(self, value: Any) -> str:
        """Celery's encoding of a value; raises kombu's EncodeError when it has none."""
        text: Any = self.encode(value)
        return str(text)

    def _value(self, text: str) -> Any:
        return self.decode(text)  # type: ignore[arg-type]  # JSON is text, whatever the stub says

    def _children(self, text: str | None) -> list[Any]:
        return self._value(text) if text else []

    def _forget(self, task_id: str) -> None:
        with self.app.ledger.connection() as connection:
            store.forget(connection, task_id)

    def _save_group(self, group_id: str, result: GroupResult) -> GroupResult:
        text = self._json({"result": result.as_tuple()})
        current = active_unit()
        if current is not None:
            current.groups[group_id] = text
        else:
            with self.app.ledger.connection() as connection:
                store.save_group(connection, group_id, text)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        from celery.result import result_from_tuple

        with self.app.ledger.connection() as connection:
            found = store.restore_group(connection, group_id)
        if found is None:
            return None
        value, saved_at = found
        return {
            "task_id": group_id,
            "result": result_from_tuple(value["result"], self.app),
            "date_done": saved_at,
        }

    def _delete_group(self, group_id: str) -> None:
        with self.app.ledger.connection() as connection:
            store.delete_group(connection, group_id)

    def cleanup(self) -> None:
        """Delete what was sent by hand and ended longer than `result_expires` ago. Idempotent."""
        if self.expires:
            with self.app.ledger.connection() as connection:
                store.delete_unplanned(connection, self.expires)

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Keep the header's shape when it is nested, so that the body gets it back nested."""
        header = self.app.GroupResult(*header_result_args)
        if any(isinstance(result, GroupResult) for result in header.results):
            self._write(Unit(join_headers={header.id: self._json(header.as_tuple())}))

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Celery counts the header's leaves here, before it sends the last one."""
        self._write(Unit(join_sizes={group_id: chord_size}))

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """`Task.add_to_chord`: the header has one more leaf."""
        self._write(Unit(join_growth={chord_id: 1}))

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """One leaf of a header has ended; the last one to commit sends the body."""
        if not request.group or not request.id:
            return
        encoded = self.encode_result(result, state)
        if state in states.EXCEPTION_STATES:
            encoded = redact_values(encoded)
        text = self._json(encoded)
        parts = [
            JoinPart(
                join_id=request.group,
                step_id=step_id,
                position=request.group_index,
                status=state,
                result=text,
                body=request.chord,
            )
            for step_id in _leaves(request)
        ]
        self._write(Unit(parts=parts))


def _leaves(request: Any) -> list[str]:
    """The ids that count in a join for this request; Celery fails a group that ends a chain as if it were one."""
    if getattr(request, "subtask_type", None) != "group":
        return [request.id]
    return [leaf for task in request.kwargs["tasks"] for leaf in _leaves_of(task)]


def _leaves_of(signature: Mapping[str, Any]) -> list[str]:
    kind, kwargs = signature.get("subtask_type"), signature.get("kwargs") or {}
    if kind == "group":
        return [leaf for task in kwargs["tasks"] for leaf in _leaves_of(task)]
    if kind == "chain":
        return _leaves_of(kwargs["tasks"][-1])
    if kind == "chord":
        return _leaves_of(kwargs["body"])
    return [str(signature["options"]["task_id"])]
