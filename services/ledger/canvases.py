"""Finds the steps of a canvas that was sent by hand, of which any one is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from services.ledger.foresight import ENDED
from services.ledger.lineage import lineage
from services.queries import load_queries

_SQL = load_queries("services.ledger", "canvases.sql")

MOST_STEPS = 10_000
"""Of a larger canvas no more is read: what a task's code sends is of its canvas, without an end."""


def workflow_of(connection: Connection[Any], step_id: str) -> UUID | None:
    """The workflow of a step; None when it belongs to none, or is not there."""
    rows = _fetch(connection, "place_of_step", id=step_id)
    return rows[0]["workflow_id"] if rows else None


def read_canvas(connection: Connection[Any], known_id: str) -> dict[str, Any] | None:
    """The canvas of a step, also of one that is to come, or of a group; None when no worker has seen any of it.

    It has `root_id`, the id of its first step; `state`, as a workflow's; `accepted_at`, when it was first
    seen, and `finished_at`; `is_whole`, False above `MOST_STEPS`; and `steps` (`services.ledger.lineage`).
    """
    rows = _related_to(connection, known_id)
    if not rows:
        for found in _fetch(connection, "step_before", id=known_id):
            rows = _related_to(connection, found["id"])
    if not rows:
        return None
    steps = lineage(sorted(rows.values(), key=_place))
    seen = (row[name] for row in rows.values() for name in ("planned_at", "started_at"))
    return {
        "root_id": steps[0]["id"],
        "state": _state(steps),
        "accepted_at": min(each for each in seen if each),
        "finished_at": _finished_at(steps),
        "is_whole": len(rows) < MOST_STEPS,
        "steps": steps,
    }


def _related_to(connection: Connection[Any], known_id: str) -> dict[str, Mapping[str, Any]]:
    rows: dict[str, Mapping[str, Any]] = {}
    wanted: dict[str, set[str]] = {"ids": {known_id}, "roots": {known_id}, "groups": {known_id}}
    asked: dict[str, set[str]] = {name: set() for name in wanted}
    while any(wanted.values()) and len(rows) < MOST_STEPS:
        for row in _fetch(
            connection,
            "steps_of_canvas",
            limit=MOST_STEPS - len(rows),
            **{name: sorted(each) for name, each in wanted.items()},
        ):
            rows[row["id"]] = row
        for name, each in wanted.items():
            asked[name] |= each
        wanted = {name: each - asked[name] for name, each in _related(rows.values()).items()}
        wanted["ids"] -= rows.keys()
    return rows


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The order of what nothing else puts into one."""
    return row["planned_at"], (row["canvas"] or {}).get("index") or 0, row["id"]


def _related(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """What leads from these steps to others of their canvas."""
    found: dict[str, set[str]] = {"ids": set(), "roots": set(), "groups": set()}
    for row in rows:
        shape = row["canvas"] or {}
        found["ids"] |= {each for each in (row["parent_id"], row["sent_by"]) if each}
        found["ids"] |= {each["id"] for each in shape.get("next", ())}
        found["roots"] |= {each for each in (row["root_id"], row["id"]) if each}
        found["groups"] |= {shape["joins"]} if "joins" in shape else set()
    return found


def _state(steps: Iterable[Mapping[str, Any]]) -> str:
    states = {step["state"] for step in steps}
    if states - {*ENDED}:
        return "accepted"
    return next((state for state in ("dead", "failed") if state in states), "done")


def _finished_at(steps: list[dict[str, Any]]) -> Any:
    if _state(steps) == "accepted":
        return None
    return max((step["finished_at"] for step in steps if step["finished_at"]), default=None)


def _fetch(connection: Connection[Any], name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL[name].encode(), values).fetchall()
