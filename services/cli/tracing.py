"""The `doorbell trace` command."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import following, trace
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED, NotFound
from services.cli.output import AsJson, console, print_json
from services.ledger.message import is_name


def trace_workflow(
    known_id: Annotated[
        str,
        typer.Argument(
            help="The workflow_id a login was answered, or the id of a step; by hand, also of a group.",
            metavar="WORKFLOW",
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on showing new states until it has ended."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the steps of a workflow, or of a canvas sent by hand, as planned and as they went, and where else to look.

    With --follow, one that did not end done ends this with 1.
    """
    if not is_name(known_id):
        raise typer.BadParameter(f"{known_id!r} is no id: give one of a workflow or of a step")
    endpoints = find()
    with connected(endpoints.database_url) as connection:
        if follow:
            found = following.follow(connection, known_id, as_json=as_json)
            raise typer.Exit(OK if found["state"] == "done" else REFUSED)
        traced = trace.read(connection, known_id)
    if traced is None:
        raise NotFound(trace.nobody_knows(known_id))
    if as_json:
        print_json(traced)
    else:
        console().print(trace.as_tree(traced))
        for place in trace.places(traced, endpoints.local_logs):
            typer.echo(place)
