"""`doorbell task`: pausing one kind of task."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from routing.topology import CELERY_TASKS, Topology
from services.cli.dead import Yes
from services.cli.desk import Desk, actor, counted, opened
from services.cli.exits import NotFound
from services.cli.output import AsJson, print_json, print_table
from services.domain.errors import ConfigurationError, Refused
from services.ledger import pauses

app = typer.Typer(help="One kind of task.", no_args_is_help=True)

_MAINTENANCE = "maintenance"

Name = Annotated[str, typer.Argument(help="As `task list` names it.", metavar="TASK")]


@app.command("list")
def list_tasks(as_json: AsJson = False) -> None:
    """List the tasks: by whom they are paused, and how many of their steps wait for the resume."""
    with opened() as desk:
        rows = _rows(desk)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("TASK", "POOL", "PARKED", "PAUSED"),
        [
            (
                row["task"],
                row["pool"],
                row["parked"] or None,
                row["paused_by"]
                and f"by {row['paused_by']}, {row['paused_at']:%F %T %Z}"
                + (", dropping its steps" if row["drops"] else ""),
            )
            for row in rows
        ],
    )


@app.command("pause")
def pause(
    task: Name,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop", help="Give its steps up (reason `dropped`) instead of keeping them for later."
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Begin no step of a task until `resume`: what comes is kept in the ledger, in order.

    Other tasks of its pool go on. What is under way ends as it would. It lasts
    over restarts. Steps that are given up by --drop end their workflows as
    failed, and can be replayed: `doorbell dead replay --reason dropped`.
    """
    with opened() as desk:
        _check(desk.topology, task)
        if drop and not yes:
            _ask(task)
        pauses.pause(desk.connection, task, actor(), drop)
        desk.connection.commit()
    if as_json:
        print_json({"task": task, "paused": True, "drops": drop})
    else:
        what = "given up" if drop else "kept"
        typer.echo(f"{task} is paused: its steps are {what} until `doorbell task resume {task}`")


@app.command("resume")
def resume(task: Name, as_json: AsJson = False) -> None:
    """Let steps of a task begin again, the oldest first. What is not paused stays as it is."""
    with opened() as desk:
        _check(desk.topology, task)
        was_paused = pauses.resume(desk.connection, task, actor())
        waiting = pauses.parked(desk.connection).get(task, 0)
        desk.connection.commit()
    if as_json:
        print_json({"task": task, "was_paused": was_paused, "parked": waiting})
    elif was_paused:
        typer.echo(f"{task} goes on: {counted(waiting, 'step')} to be sent to its queue again")
    else:
        typer.echo(f"{task} was not paused")


def _rows(desk: Desk) -> list[dict[str, Any]]:
    paused = {each.task: each for each in pauses.open_pauses(desk.connection)}
    waiting = pauses.parked(desk.connection)
    rows = []
    for name, route in desk.topology.tasks.items():
        if name == CELERY_TASKS:
            continue
        found = paused.get(name)
        rows.append(
            {
                "task": name,
                "pool": desk.topology.queues[route.queue].pool,
                "parked": waiting.get(name, 0),
                "drops": found is not None and found.drops,
                "paused_by": found.paused_by if found else None,
                "paused_at": found.paused_at if found else None,
            }
        )
    return rows


def _check(topology: Topology, task: str) -> None:
    if task == CELERY_TASKS or task not in topology.tasks:
        names = ", ".join(name for name in topology.tasks if name != CELERY_TASKS)
        raise NotFound(f"there is no task {task}; there are {names}")
    if topology.queues[topology.tasks[task].queue].pool == _MAINTENANCE:
        raise Refused(f"{task} cannot be paused: what keeps the others going runs in its pool")


def _ask(task: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): pause --drop with --yes"
        )
    typer.confirm(f"give up every step of {task} that comes from now on?", abort=True, err=True)
