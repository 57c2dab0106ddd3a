"""`doorbell workflow`: what can be done about one workflow."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from services.cli.dead import RATE_PER_SECOND, Rate, act
from services.cli.desk import opened
from services.cli.exits import NotFound
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson
from services.domain.errors import Refused
from services.ledger.dead_steps import Selection, workflow_state

app = typer.Typer(help="Workflows.", no_args_is_help=True)


@app.callback()
def workflow() -> None:
    """Keep `resume` a command of its own, also while it is the only one."""


@app.command("resume")
def resume(
    workflow_id: Annotated[
        UUID, typer.Argument(help="The workflow_id a login was answered.", metavar="WORKFLOW")
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
    rate: Rate = RATE_PER_SECOND,
    as_json: AsJson = False,
) -> None:
    """Go on with a workflow from the steps at which it was given up, dropped ones included."""
    with opened() as desk:
        found = workflow_state(desk.connection, workflow_id)
    if found is None:
        raise NotFound(f"there is no workflow {workflow_id}")
    state, given_up = found
    if not given_up:
        raise Refused(f"workflow {workflow_id} is {state}: none of its steps is given up")
    wanted = Selection(workflow=workflow_id, with_dropped=True)
    raise typer.Exit(act("resume", wanted, dry_run=dry_run, yes=yes, rate=rate, as_json=as_json))
