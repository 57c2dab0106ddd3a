"""Joins what was planned for a canvas with what happened, into one list of steps."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ledger.foresight import (
    ENDED,
    FAILED,
    Row,
    Shapes,
    Step,
    foreseen,
    in_order,
    with_foreseen,
)
from services.ledger.message import Message
from services.ledger.shape import shape_of_message


def lineage(rows: Sequence[Row]) -> list[Step]:
    """The steps of one canvas, those that are to come included: a workflow's as they are given,
    others each behind what it comes from.

    rows: with all columns that a step has here, and `canvas` and `message`. A step has its columns, and

    - `planned`: the canvas names it; else it is a callback, or what a task's own code has sent;
    - `after`: the planned steps that it waits for; `is_body`: as the body of a chord;
    - `parent`, `children`: ids, along what has sent what, or is to;
    - `group`, which those have in common that run side by side, `group_size`, and `group_index`;
    - `role`: `link`, `link_error`, `body`, `replacement` (of a task that stood there), or None;
    - `callbacks`: `kind` (`link`, `link_error`, `body`), `task`, `step` (its id once there is one) and
      `state`: `waiting`, `fired` or `will_not_fire`. Of a workflow's own steps those that were never needed
      are known only until the step is done;
    - `maps`, `items`: of `map` and `starmap`, the task and how often it is done;
    - `waiting_seconds`: from ready to the last start, None while nobody has noted one of the two;
      `run_seconds`: from there to the end.
    """
    shapes = {row["id"]: _shape(row) for row in rows}
    steps = with_foreseen(rows, shapes)
    is_workflow = any(row["position"] is not None for row in rows)
    ordered = [*steps.values()] if is_workflow else in_order(steps)
    _add_groups(ordered, shapes)
    _add_callbacks(ordered, shapes)
    for step in ordered:
        _add_times(step, steps)
        for name in ("message", "canvas", "is_replacement"):
            step.pop(name, None)
    return ordered


def _shape(row: Row) -> Mapping[str, Any]:
    kept = dict(row["canvas"] or {})
    # Of a planned map's place what it does is kept, and its message has the rest.
    if row["message"] and (not kept or row["position"] is not None):
        found = shape_of_message(Message.from_json(row["message"]))
        kept |= json.loads(found) if found else {}
    return kept


def _add_groups(steps: Sequence[Step], shapes: Shapes) -> None:
    ahead = {each["id"]: each for each in foreseen(shapes)}
    by_id = {step["id"]: step for step in steps}
    said: dict[str, str] = {}
    for step in steps:
        shape = shapes.get(step["id"], {})
        known = shape if "group" in shape else ahead.get(step["id"], {})
        if "group" in known:
            said[step["id"]] = known["group"]
        # A plan says by itself what is side by side, and messages are there only for a while.
        here = known if step["position"] is None else {}
        step["group"], step["group_index"] = here.get("group"), here.get("index")
        mapped = shape if "maps" in shape else ahead.get(step["id"], {})
        step["maps"], step["items"] = mapped.get("maps"), mapped.get("items")
    for members in _side_by_side(steps):
        # Of those that are to come nobody has said in which group, nor of a plan's once they are done.
        names = (said.get(each) or by_id[each]["group"] for each in members)
        group = next((each for each in names if each), members[0])
        for index, step_id in enumerate(members):
            if by_id[step_id]["group_index"] is None:
                by_id[step_id] |= {"group": group, "group_index": index}
    sizes = Counter(step["group"] for step in steps)
    for step in steps:
        step["group_size"] = sizes[step["group"]] if step["group"] else None


def _side_by_side(steps: Sequence[Step]) -> Iterator[list[str]]:
    """What a chord's body joins, and what stands behind the same steps of a plan."""
    known = {step["id"] for step in steps}
    beside: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for step in steps:
        if step["is_body"]:
            yield [each for each in step["after"] if each in known] or [step["id"]]
        if step["position"] is not None:
            beside[tuple(step["after"])].append(step["id"])
    yield from (members for members in beside.values() if len(members) > 1)


def _add_callbacks(ordered: Sequence[Step], shapes: Shapes) -> None:
    ahead = {each["id"]: each for each in foreseen(shapes)}
    sent: defaultdict[str | None, list[Step]] = defaultdict(list)
    bodies: defaultdict[str, list[Step]] = defaultdict(list)
    for step in ordered:
        step["role"] = "body" if step["is_body"] else None
        if step["is_replacement"] and not step["is_body"]:
            step["role"] = "replacement"
        sent[step["parent"]].append(step)
        for before in step["after"] if step["is_body"] else ():
            bodies[before].append(step)
    for step in ordered:
        children = sent[step["id"]]
        step["children"] = [child["id"] for child in children]
        others = [child for child in children if not child["planned"] and child["role"] is None]
        shape = shapes.get(step["id"]) or ahead.get(step["id"], {})
        step["callbacks"] = [
            *_fired_or_not(step, shape, others),
            *(_body(body) for body in bodies[step["id"]]),
        ]


def _fired_or_not(
    step: Step, shape: Mapping[str, Any], sent: list[Step]
) -> Iterator[dict[str, Any]]:
    for kind, is_due in (
        ("link", step["state"] == "done"),
        ("link_error", step["state"] in FAILED),
    ):
        for task in shape.get(kind, ()):
            child = next((each for each in sent if is_due and each["task"] == task), None)
            if child is not None:
                sent.remove(child)
                yield _fired(kind, child)
            else:
                state = "will_not_fire" if step["state"] in ENDED else "waiting"
                yield {"kind": kind, "task": task, "step": None, "state": state}
    # Whatever else a failed step has sent is told of its failure too.
    for child in sent if step["state"] in FAILED else ():
        yield _fired("link_error", child)


def _fired(kind: str, child: Step) -> dict[str, Any]:
    # Celery sends error callbacks as a group of their own.
    child |= {"role": kind, "group": None, "group_index": None, "group_size": None}
    return {"kind": kind, "task": child["task"], "step": child["id"], "state": "fired"}


def _body(body: Step) -> dict[str, Any]:
    state = {"planned": "waiting", "blocked": "will_not_fire"}.get(body["state"], "fired")
    return {"kind": "body", "task": body["task"], "step": body["id"], "state": state}


def _add_times(step: Step, steps: Mapping[str, Step]) -> None:
    started_at, finished_at = step["started_at"], step["finished_at"]
    step["waiting_seconds"] = _seconds(_ready_at(step, steps), started_at)
    step["run_seconds"] = _seconds(started_at, finished_at)


def _ready_at(step: Row, steps: Mapping[str, Step]) -> datetime | None:
    if (
        step["sent_by"] is None
        and step["position"] is None
        and step["ready_at"] == step["planned_at"]
    ):
        # Its row is as old as its delivery: when it was sent is nowhere.
        return None
    times = [each for each in (step["ready_at"], step["due_at"]) if each]
    # It was made ready in its sender's transaction, which is dated by its beginning.
    sent_at = steps[step["sent_by"]]["finished_at"] if step["sent_by"] in steps else None
    if sent_at and step["started_at"] and sent_at <= step["started_at"] and not step["retries"]:
        times.append(sent_at)
    return max(times, default=None)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round(max((end - start).total_seconds(), 0.0), 6) if start and end else None
