"""`doorbell trace --follow`: a workflow's steps as they go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import typer
from rich.live import Live

from services.cli import trace
from services.cli.database import Connection
from services.cli.exits import NotFound
from services.cli.output import console

LOOK_SECONDS = 0.25
"""From one look to the next: a step's new state is shown within this and the time that reading it takes."""
_REST_SECONDS = 0.05
"""After each look, also where reading takes longer than that, as of thousands of steps."""


def follow(connection: Connection, known_id: str, *, as_json: bool) -> dict[str, Any]:
    """Show each new state of each step until the workflow has ended; returns it as it is then.

    A terminal has the tree, which changes in place; what is no terminal a line for each
    change, or a JSON object a line: `workflow` and `state` first, and with a step's `step`, `task`,
    `attempts`, `retries` and `host`; `canvas` has the first step of what was sent by hand.

    Raises:
        NotFound: there is no such workflow, or it was erased meanwhile.
    """
    if as_json:
        return _until_ended(connection, known_id, _Changes(_as_json).show)
    if not sys.stdout.isatty():
        return _until_ended(connection, known_id, _Changes(_as_line).show)
    with Live(console=console(), auto_refresh=False) as live:

        def redraw(workflow: dict[str, Any]) -> None:
            live.update(trace.as_tree(workflow), refresh=True)

        return _until_ended(connection, known_id, redraw)


def _until_ended(
    connection: Connection, known_id: str, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    shown: dict[str, Any] | None = None
    while True:
        began = monotonic()
        found = trace.read(connection, known_id)
        # What is read next is of another moment.
        connection.rollback()
        if found is None:
            raise NotFound(trace.nobody_knows(known_id))
        if found != shown:
            show(found)
            shown = found
        if found["state"] != "accepted":
            return found
        # A step that is to come is looked for far and wide.
        known_id = str(found["workflow_id"] or found["root_id"])
        sleep(max(_REST_SECONDS, LOOK_SECONDS - (monotonic() - began)))


class _Changes:
    """Tells what is new since it was last shown a workflow."""

    def __init__(self, tell: Callable[[dict[str, Any], dict[str, Any] | None], None]) -> None:
        self._tell = tell
        self._told: dict[str | None, tuple[Any, ...]] = {}

    def show(self, workflow: dict[str, Any]) -> None:
        for step in workflow["steps"]:
            now = (step["state"], step["attempts"], step["retries"])
            if self._told.get(step["id"]) != now:
                self._told[step["id"]] = now
                self._tell(workflow, step)
        if self._told.get(None) != (workflow["state"],):
            self._told[None] = (workflow["state"],)
            self._tell(workflow, None)


def _as_line(workflow: dict[str, Any], step: dict[str, Any] | None) -> None:
    if step is None:
        typer.echo(f"{trace.title_of(workflow)}: {workflow['state']}")
    else:
        console().print(trace.line_of(workflow, step))


def _as_json(workflow: dict[str, Any], step: dict[str, Any] | None) -> None:
    change = {"workflow": workflow["workflow_id"], "state": (step or workflow)["state"]}
    if workflow["workflow_id"] is None:
        change["canvas"] = workflow["root_id"]
    if step is not None:
        change["step"] = step["id"]
        change |= {name: step[name] for name in ("task", "attempts", "retries", "host")}
    typer.echo(json.dumps(change, default=str))
