"""Puts the steps that messages foresee beside those that the ledger has, in the order of the canvas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Step = dict[str, Any]
Shapes = Mapping[str, Mapping[str, Any]]

FAILED = ("failed", "dead", "blocked")
ENDED = ("done", *FAILED)

_NOT_YET: dict[str, Any] = {
    **dict.fromkeys(("attempts", "retries", "redeliveries", "replacements"), 0),
    **dict.fromkeys(
        (
            *("queue", "position", "sent_by", "root_id", "parent_id", "host", "result", "reason"),
            *("planned_at", "ready_at", "published_at", "due_at", "started_at", "finished_at"),
        )
    ),
}


def with_foreseen(rows: Sequence[Row], shapes: Shapes) -> dict[str, Step]:
    """All steps by id, with `planned`, `after`, `is_body`, `is_replacement` and `parent` as `lineage` has them.

    A step of which there is no row is planned, or blocked when one that it waits for has failed.
    """
    steps = {row["id"]: {**row, "after": [*row["after"]], "is_body": False} for row in rows}
    is_workflow = any(row["position"] is not None for row in rows)
    for step in steps.values():
        known = "position" if is_workflow else "sent_by"
        step["planned"] = (step[known] is not None) == is_workflow
    if not is_workflow:
        # A workflow's rows have the whole plan.
        for each in foreseen(shapes):
            _foresee(each, steps)
    for step in steps.values():
        step["is_body"] = step["is_body"] or len(step["after"]) > 1
    replacements = _replacements(steps)
    _find_parents(steps, replacements)
    for step in steps.values():
        step["is_replacement"] = step["id"] in replacements
        if step["state"] == "planned" and any(
            steps[before]["state"] in FAILED for before in step["after"] if before in steps
        ):
            step["state"] = "blocked"
    return steps


def foreseen(shapes: Shapes) -> Iterator[Mapping[str, Any]]:
    """What messages say of the steps behind them."""
    for shape in shapes.values():
        yield from shape.get("next", ())


def _foresee(each: Mapping[str, Any], steps: dict[str, Step]) -> None:
    empty = {"id": each["id"], "task": each["task"], "state": "planned", "after": []}
    step = steps.setdefault(each["id"], {**_NOT_YET, **empty, "is_body": False})
    step["planned"] = True
    step["task"] = step["task"] or each["task"]
    step["after"] = list(dict.fromkeys([*step["after"], *each["after"]]))
    step["is_body"] = step["is_body"] or bool(each.get("is_body"))


def _replacements(steps: Mapping[str, Step]) -> set[str]:
    """The first steps of what has taken a task's place (Task.replace).

    A canvas comes behind what the task waited for, and its last step has the task's id. A task that has taken
    another's place has its id too: it is told by what messages count, which those behind it count as well.
    """
    found: set[str] = set()
    for step in steps.values():
        if step["replacements"]:
            found |= _put_canvas_before(step, steps) or _if_first(step, steps)
    return found


def _put_canvas_before(replaced: Step, steps: Mapping[str, Step]) -> set[str]:
    sent = [step["id"] for step in steps.values() if step["sent_by"] == replaced["id"]]
    behind = {step_id: _behind(step_id, replaced["id"], steps) for step_id in sent}
    own = [each for each in replaced["after"] if any(each in found for found in behind.values())]
    before = [each for each in replaced["after"] if each not in own]
    first = {step_id for step_id, found in behind.items() if found.intersection(own)}
    for step_id in first:
        steps[step_id] |= {"after": before, "planned": True}
    if own:
        replaced["after"] = own
    return first


def _behind(step_id: str, except_for: str, steps: Mapping[str, Step]) -> set[str]:
    """A step and what it leads to, as sent or as planned."""
    found, pending = {except_for}, [step_id]
    while pending:
        at = pending.pop()
        if at not in found:
            found.add(at)
            pending += [
                step["id"]
                for step in steps.values()
                if step["sent_by"] == at or at in step["after"]
            ]
    return found - {except_for}


def _if_first(step: Step, steps: Mapping[str, Step]) -> set[str]:
    before = [steps[each]["replacements"] for each in _before(step, steps)]
    return {step["id"]} if step["replacements"] > max(before, default=0) else set()


def _before(step: Step, steps: Mapping[str, Step]) -> list[str]:
    """Where a step comes from, the nearest first: what has sent it, else what is to."""
    only = step["after"] if len(step["after"]) == 1 else ()
    found = (step["parent_id"], *only, step["sent_by"])
    return [each for each in found if each in steps and each != step["id"]]


def _find_parents(steps: Mapping[str, Step], replacements: set[str]) -> None:
    for step in steps.values():
        before = _before(step, steps)
        if step["id"] in replacements:
            # It was sent by what it leads to, and stands where that stood.
            before = [each for each in before if each in step["after"] or not step["planned"]]
        step["parent"] = next(iter(before), None)
    for step in steps.values():
        _cut_circle(step, steps)


def _cut_circle(step: Step, steps: Mapping[str, Step]) -> None:
    seen, at = {step["id"]}, step
    while at["parent"] is not None:
        if at["parent"] in seen:
            at["parent"] = None
            return
        seen.add(at["parent"])
        at = steps[at["parent"]]


def in_order(steps: Mapping[str, Step]) -> list[Step]:
    """Each step behind its parent and those that it waits for; else in the order that they have."""
    waits = {
        step["id"]: {
            each
            for each in (*step["after"], step["parent"])
            if each in steps and each != step["id"]
        }
        for step in steps.values()
    }
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for step_id, before in waits.items():
        for each in before:
            behind[each].append(step_id)
    told: dict[str, Step] = {}
    ready: Iterable[str] = [step_id for step_id, before in waits.items() if not before]
    while ready:
        told |= {step_id: steps[step_id] for step_id in ready}
        ready = list(_freed(ready, behind, waits))
    # Messages that contradict each other are somebody's who makes them by hand.
    return [*told.values(), *(step for step in steps.values() if step["id"] not in told)]


def _freed(
    ready: Iterable[str], behind: Mapping[str, list[str]], waits: Mapping[str, set[str]]
) -> Iterator[str]:
    for step_id in ready:
        for each in behind.get(step_id, ()):
            waits[each].discard(step_id)
            if not waits[each]:
                yield each
