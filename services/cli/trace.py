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
from services.ledger.labels import search_of_workflow

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


def read(connection: Connection, workflow_id: UUID) -> dict[str, Any] | None:
    """Everything that the ledger knows of a workflow; None: there is no such workflow."""
    workflows = fetch(connection, "workflow", workflow=workflow_id)
    if not workflows:
        return None
    steps = fetch(connection, "steps", workflow=workflow_id)
    for step in steps:
        step["result"] = _decoded(step["result"])
    verdicts = fetch(connection, "verdict", workflow=workflow_id)
    return {**workflows[0], "steps": steps, "verdict": verdicts[0] if verdicts else None}


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
        if not before and step["sent_by"] in known and not step["planned"]:
            before = [step["sent_by"]]
        shared = {found.get(step_id) for step_id in before}
        if len(before) == 1:
            found[step["id"]] = before[0]
        elif len(shared) == 1:
            found[step["id"]] = shared.pop()
        else:
            found[step["id"]] = before[-1] if before else None
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


def _names(steps: Sequence[Row]) -> dict[str, str]:
    return {step["id"]: str(step["task"]).rpartition(".")[2] for step in steps}


def places(workflow: Row, local_logs: Path | None) -> list[str]:
    """Where else there is something about the workflow: commands for its lines in the log, a search for Flower.

    local_logs: where a local cluster has its logs; None names those of containers and of hosts.
    """
    workflow_id = workflow["workflow_id"]
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
        f"  {search_of_workflow(workflow_id)}   # in the search of Flower's tasks",
    ]


def _title(workflow: Row) -> str:
    state = workflow["state"]
    took = ""
    if workflow["finished_at"]:
        took = f" after {_span(workflow['accepted_at'], workflow['finished_at'])}"
    user = f", user {workflow['user_id']}" if workflow["user_id"] is not None else ""
    owner = escape(f"{workflow['tenant_id']}{user}")
    return (
        f"{escape(workflow['name'])} {workflow['workflow_id']}: {_coloured(state)}{took}"
        f" [dim]({owner}, accepted {workflow['accepted_at']:%Y-%m-%d %H:%M:%S.%f %Z})[/dim]"
    )


def _line(step: Row, begun_at: datetime, names: Mapping[str, str]) -> str:
    parts = [f"{escape(str(step['task']))} {_coloured(step['state'])}"]
    if len(step["after"]) > 1:
        parts.append("joins " + " + ".join(names.get(each, each) for each in step["after"]))
    if not step["planned"]:
        parts.append("not planned")
    line = ", ".join([*parts, *_counts(step), *_times(step, begun_at)])
    if step["host"]:
        line += f", on {escape(step['host'])}"
    if step["result"] is not None:
        text = json.dumps(step["result"], default=str)
        short = text if len(text) <= _RESULT_WIDTH else text[:_RESULT_WIDTH] + "..."
        line += f"\n[dim]{escape(short)}[/dim]"
    return line


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
    seconds = (end - start).total_seconds()
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"
