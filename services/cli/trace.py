"""`doorbell trace`: what was planned for a workflow against what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.markup import escape
from rich.tree import Tree

from services.cli.database import Connection, fetch
from services.ledger.canvases import read_canvas, workflow_of
from services.ledger.dead_steps import error_text
from services.ledger.labels import search_of_workflow
from services.ledger.lineage import lineage

Row = Mapping[str, Any]

_COLOURS = {
    "done": "green",
    "failed": "red",
    "dead": "red",
    "blocked": "yellow",
    "retrying": "yellow",
    "parked": "yellow",
    "ready": "cyan",
    "accepted": "cyan",
}
_RESULT_WIDTH = 160
_MOST_NAMED = 8
_ROLES = {"link": "link", "link_error": "link_error", "replacement": "in the place of another"}
_NO_WORKFLOW = {
    "workflow_id": None,
    "name": "canvas",
    "verdict": None,
    **dict.fromkeys(("tenant_id", "user_id", "event_id")),
}


def read(connection: Connection, known_id: str) -> dict[str, Any] | None:
    """Everything that the ledger knows of a workflow, or of a canvas that was sent by hand.

    known_id: the workflow's id, or that of any step or, of what was sent by hand, group of it.
    None: nothing of it has been seen. A canvas has no `workflow_id`, but `root_id`, its first step.
    """
    workflow_id = _uuid(known_id)
    workflows = fetch(connection, "workflow", workflow=workflow_id) if workflow_id else []
    if not workflows and (workflow_id := workflow_of(connection, known_id)):
        workflows = fetch(connection, "workflow", workflow=workflow_id)
    if not workflows:
        found = read_canvas(connection, known_id)
        return found and {**_NO_WORKFLOW, **found, "steps": _told(found["steps"])}
    steps = _told(lineage(fetch(connection, "steps", workflow=workflow_id)))
    verdicts = fetch(connection, "verdict", workflow=workflow_id)
    return {**workflows[0], "steps": steps, "verdict": verdicts[0] if verdicts else None}


def _told(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for step in steps:
        is_error = step["state"] in ("failed", "dead", "blocked")
        step["error"] = error_text(step["result"]) if is_error else None
        step["result"] = _decoded(step["result"])
    return steps


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def nobody_knows(known_id: str) -> str:
    """Why there is nothing to show."""
    return (
        f"there is no workflow {known_id}, and no step or group of this id:"
        " what is sent by hand is known once a worker has taken its first step"
    )


def parents(steps: Sequence[Row]) -> dict[str, str | None]:
    """Under which step each one is shown.

    A step with one predecessor stands under it. One that joins several stands
    beside them, under what they have in common. An unplanned one stands under
    its sender.
    """
    known = {step["id"] for step in steps}
    found: dict[str, str | None] = {}
    for step in steps:
        before = [step_id for step_id in step["after"] if step_id in known]
        if len(before) > 1:
            found[step["id"]] = _shared(before, found)
        elif before:
            found[step["id"]] = before[0]
        else:
            found[step["id"]] = None if step["planned"] else step["parent"]
    return found


def _shared(step_ids: Sequence[str], above: Mapping[str, str | None]) -> str | None:
    """The nearest step under which all of these stand; None: they stand under none together."""
    first, *others = (_up(step_id, above) for step_id in step_ids)
    all_others = [{*other} for other in others]
    return next((each for each in first if all(each in other for other in all_others)), None)


def _up(step_id: str, above: Mapping[str, str | None]) -> list[str]:
    """What a step stands under, the nearest first."""
    found: list[str] = []
    at = above.get(step_id)
    while at is not None and at not in found:
        found.append(at)
        at = above.get(at)
    return found


def as_tree(workflow: Row) -> Tree:
    """The workflow as a tree for a terminal."""
    begun_at = workflow["accepted_at"]
    tree = Tree(_title(workflow))
    steps: Sequence[Row] = workflow["steps"]
    names = _names(steps)
    nodes: dict[str | None, Tree] = {None: tree}
    above = parents(steps)
    for step in steps:
        parent = nodes.get(above[step["id"]], tree)
        nodes[step["id"]] = parent.add(_line(step, begun_at, names))
    if verdict := workflow["verdict"]:
        reasons = ", ".join(verdict["reasons"]) or "no reasons given"
        score = "none" if verdict["score"] is None else f"{verdict['score']:.3f}"
        text = f"verdict: {verdict['level']}, {verdict['action']}, score {score} ({reasons})"
        late = ", late" if verdict["late"] else ""
        tree.add(f"[bold]{escape(text + late)}[/bold]")
    return tree


def line_of(workflow: Row, step: Row) -> str:
    """One step as a line with markup."""
    return _line(step, workflow["accepted_at"], _names(workflow["steps"])).partition("\n")[0]


def title_of(workflow: Row) -> str:
    """What a workflow, or a canvas sent by hand, is called."""
    return f"{workflow['name']} {workflow['workflow_id'] or workflow['root_id']}"


def _names(steps: Sequence[Row]) -> dict[str, str]:
    return {step["id"]: str(step["task"]).rpartition(".")[2] for step in steps}


def places(workflow: Row, local_logs: Path | None) -> list[str]:
    """Where else there is something about the workflow: commands for its lines in the log, a search for Flower.

    local_logs: where a local cluster has its logs; None names those of containers and of hosts.
    """
    workflow_id = workflow["workflow_id"] or workflow["root_id"]
    hosts = sorted({step["host"] for step in workflow["steps"] if step["host"]})
    if local_logs is not None:
        commands = [f"grep -h {workflow_id} {local_logs}/*.log"]
    else:
        commands = [
            f"docker compose logs --no-log-prefix | grep {workflow_id}",
            f"journalctl --unit 'doorbell-*' --grep {workflow_id}   # on {', '.join(hosts) or 'every host'}",
        ]
    return [
        "What went wrong stands in the log, and all of it is in Flower for a while:",
        *(f"  {command}" for command in commands),
        f"  {_search(workflow)}   # in the search of Flower's tasks",
    ]


def _search(workflow: Row) -> str:
    workflow_id = workflow["workflow_id"]
    return search_of_workflow(workflow_id) if workflow_id else str(workflow["root_id"])


def _title(workflow: Row) -> str:
    state = workflow["state"]
    took = ""
    if workflow["finished_at"]:
        took = f" after {_span(workflow['accepted_at'], workflow['finished_at'])}"
    since = f"{workflow['accepted_at']:%Y-%m-%d %H:%M:%S.%f %Z}"
    user = f", user {workflow['user_id']}" if workflow["user_id"] is not None else ""
    facts = f"{workflow['tenant_id']}{user}, accepted {since}"
    if workflow["workflow_id"] is None:
        facts = f"sent by hand, first seen {since}"
    return f"{escape(title_of(workflow))}: {_coloured(state)}{took} [dim]({escape(facts)})[/dim]"


def _line(step: Row, begun_at: datetime, names: Mapping[str, str]) -> str:
    task = str(step["task"])
    if step["maps"]:
        task += f" of {step['items']} {step['maps']}"
    parts = [f"{escape(task)} {_coloured(step['state'])}", *_place(step, names)]
    line = ", ".join([*parts, *_counts(step), *_times(step, begun_at)])
    if step["host"]:
        line += f", on {escape(step['host'])}"
    if missing := _missing(step):
        line += f"\n[dim]{escape(missing)}[/dim]"
    if step["result"] is not None:
        text = json.dumps(step["result"], default=str)
        short = text if len(text) <= _RESULT_WIDTH else text[:_RESULT_WIDTH] + "..."
        line += f"\n[dim]{escape(short)}[/dim]"
    return line


def _place(step: Row, names: Mapping[str, str]) -> Iterator[str]:
    before = step["after"]
    if len(before) > _MOST_NAMED:
        yield f"joins {len(before)} steps"
    elif len(before) > 1:
        yield "joins " + " + ".join(escape(names.get(each, each)) for each in before)
    elif step["is_body"]:
        yield "chord body"
    if step["group"]:
        yield f"in a group of {step['group_size']}"
    if step["role"] in _ROLES:
        yield _ROLES[step["role"]]
    elif not step["planned"]:
        yield "not planned"


def _missing(step: Row) -> str:
    """Callbacks without a line of their own: they wait, or will not come."""
    told = {"waiting": "waits", "will_not_fire": "will not fire"}
    found: dict[str, list[str]] = {}
    for each in step["callbacks"] if step["state"] != "planned" else ():
        # The body of a chord has a line, whatever becomes of it.
        if each["kind"] != "body" and each["state"] in told:
            found.setdefault(told[each["state"]], []).append(f"{each['kind']} {each['task']}")
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in found.items())


def _counts(step: Row) -> Iterator[str]:
    for column, one, many in (
        ("attempts", "attempt", "attempts"),
        ("retries", "retry", "retries"),
        ("redeliveries", "redelivery", "redeliveries"),
    ):
        if count := step[column]:
            yield f"{count} {one if count == 1 else many}"


def _times(step: Row, begun_at: datetime) -> Iterator[str]:
    started_at, finished_at = step["started_at"], step["finished_at"]
    if started_at:
        yield f"+{_span(begun_at, started_at)}"
    if step["waiting_seconds"] is not None:
        yield f"waited {_duration(step['waiting_seconds'])}"
    if started_at and finished_at:
        yield f"took {_span(started_at, finished_at)}"
    if step["state"] in {"ready", "retrying"}:
        yield "published" if step["published_at"] else "not published yet"
    if step["state"] == "parked":
        yield "its task is paused or limited: doorbell task list"
    if step["state"] == "retrying" and step["due_at"]:
        yield f"due {step['due_at']:%H:%M:%S}"


def _decoded(result: str | None) -> Any:
    if result is None:
        return None
    try:
        return json.loads(result)
    except ValueError:
        return result


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state, "dim")
    return f"[{colour}]{state}[/{colour}]"


def _span(start: datetime, end: datetime) -> str:
    return _duration((end - start).total_seconds())


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"
