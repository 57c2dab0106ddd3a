"""`doorbell task`: pausing one kind of task, or slowing it down."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer

from routing.topology import CELERY_TASKS, Topology
from services.cli.amounts import counted
from services.cli.audit import actor
from services.cli.desk import Desk, opened
from services.cli.exits import NotFound
from services.cli.options import Yes
from services.cli.output import AsJson, print_json, print_table
from services.domain.errors import ConfigurationError, Refused
from services.ledger import limits, pauses

app = typer.Typer(help="One kind of task.", no_args_is_help=True)

_MAINTENANCE = "maintenance"

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SLOWEST, _FASTEST = 1 / 3600, 10_000.0
"""In steps a second. Slower than one an hour is a pause; above the other nothing is held back."""

Name = Annotated[str, typer.Argument(help="As `task list` names it.", metavar="TASK")]


@app.command("list")
def list_tasks(as_json: AsJson = False) -> None:
    """List the tasks: by whom they are paused or limited, and how many of their steps wait because of it."""
    with opened() as desk:
        rows = _rows(desk)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("TASK", "POOL", "PARKED", "LIMIT", "PAUSED"),
        [
            (
                row["task"],
                row["pool"],
                row["parked"] or None,
                row["limit_per_second"]
                and f"{_rate_of(row['limit_per_second'])} by {row['limited_by']}",
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


@app.command("limit")
def limit(
    task: Name,
    rate: Annotated[
        str,
        typer.Argument(help="Steps that the fleet may begin: 20/s, 300/m, 1000/h.", metavar="RATE"),
    ],
    as_json: AsJson = False,
) -> None:
    """Begin no more steps of a task than RATE, all hosts together, until `unlimit`.

    What comes faster is kept in the ledger and begins when it is its turn, the
    oldest first; a retry counts as well. Behind a rest, up to five seconds'
    worth begins at once. It lasts over restarts; a new limit replaces the old one.
    """
    per_second = _per_second(rate)
    with opened() as desk:
        _check(desk.topology, task, "limited")
        limits.limit(desk.connection, task, per_second, actor())
        desk.connection.commit()
    if as_json:
        print_json({"task": task, "limit_per_second": per_second})
    else:
        typer.echo(
            f"{task} is limited to {_rate_of(per_second)} until `doorbell task unlimit {task}`"
        )


@app.command("unlimit")
def unlimit(task: Name, as_json: AsJson = False) -> None:
    """Let a task's steps begin as fast as they come. What is not limited stays as it is."""
    with opened() as desk:
        _check(desk.topology, task, "limited")
        was_limited = limits.lift(desk.connection, task, actor())
        waiting = pauses.parked(desk.connection).get(task, 0)
        desk.connection.commit()
    if as_json:
        print_json({"task": task, "was_limited": was_limited, "parked": waiting})
    elif was_limited:
        typer.echo(
            f"{task} has no limit any more: {counted(waiting, 'step')} to be sent to its queue"
        )
    else:
        typer.echo(f"{task} had no limit")


def _per_second(rate: str) -> float:
    """A rate such as 20/s, 300/m or 1000/h in steps a second.

    Raises:
        typer.BadParameter: it is none, or none that can be kept to.
    """
    found = _RATE.fullmatch(rate)
    per_second = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    if not _SLOWEST <= per_second <= _FASTEST:
        raise typer.BadParameter(
            f"{rate!r} is no rate: write 20/s, 300/m or 1000/h, from 1/h to {_FASTEST:.0f}/s. "
            "To begin none at all, use `doorbell task pause`"
        )
    return per_second


def _rate_of(per_second: float) -> str:
    unit = next(unit for unit, seconds in _SECONDS.items() if per_second * seconds >= 1)
    return f"{per_second * _SECONDS[unit]:g}/{unit}"


def _rows(desk: Desk) -> list[dict[str, Any]]:
    paused = {each.task: each for each in pauses.open_pauses(desk.connection)}
    limited = {each.task: each for each in limits.open_limits(desk.connection)}
    waiting = pauses.parked(desk.connection)
    rows = []
    for name, route in desk.topology.tasks.items():
        if name == CELERY_TASKS:
            continue
        found, bound = paused.get(name), limited.get(name)
        rows.append(
            {
                "task": name,
                "pool": desk.topology.queues[route.queue].pool,
                "parked": waiting.get(name, 0),
                "drops": found is not None and found.drops,
                "paused_by": found.paused_by if found else None,
                "paused_at": found.paused_at if found else None,
                "limit_per_second": bound.per_second if bound else None,
                "limited_by": bound.set_by if bound else None,
                "limited_at": bound.set_at if bound else None,
            }
        )
    return rows


def _check(topology: Topology, task: str, verb: str = "paused") -> None:
    if task == CELERY_TASKS or task not in topology.tasks:
        names = ", ".join(name for name in topology.tasks if name != CELERY_TASKS)
        raise NotFound(f"there is no task {task}; there are {names}")
    if topology.queues[topology.tasks[task].queue].pool == _MAINTENANCE:
        raise Refused(f"{task} cannot be {verb}: what keeps the others going runs in its pool")


def _ask(task: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): pause --drop with --yes"
        )
    typer.confirm(f"give up every step of {task} that comes from now on?", abort=True, err=True)
