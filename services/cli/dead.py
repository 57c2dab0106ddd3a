"""`doorbell dead`: what was given up, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import Progress

from routing.topology import Topology
from services.cli import dead_view
from services.cli.amounts import as_rate, counted, seconds_of, summed
from services.cli.audit import actor
from services.cli.desk import Desk, opened, queues_of
from services.cli.exits import OK, REFUSED, NotFound
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson, print_json
from services.domain.errors import ConfigurationError
from services.ledger.dead_pass import Pass, perform, rehearse
from services.ledger.dead_steps import (
    GIVEN_UP,
    Dead,
    GivenUpReason,
    Selection,
    Survey,
    look_into,
    select,
    states_of,
    whole,
)
from services.ledger.replay import Acted, Action, Onto, Operator, problem_of

RATE_PER_SECOND = 100.0
HIGHEST_LIMIT = 1_000_000_000
LOOK_AT_MOST = 20_000
"""Letters that a list looks through unasked: some seconds' work."""

app = typer.Typer(help="What was given up: see it, replay it, drop it.", no_args_is_help=True)

Ids = Annotated[
    list[str] | None, typer.Argument(help="Steps, as the list names them.", metavar="ID")
]
Id = Annotated[list[str] | None, typer.Option("--id", help="This step; may be repeated.")]
Pool = Annotated[str | None, typer.Option(help="What this pool gave up.")]
Queue = Annotated[str | None, typer.Option(help="What this queue's consumers gave up.")]
Task = Annotated[str | None, typer.Option(help="Steps of this task.")]
Reason = Annotated[GivenUpReason | None, typer.Option(help="Why it was given up.")]
OlderThan = Annotated[
    float | None,
    typer.Option(parser=seconds_of, metavar="AGE", help="Given up longer ago: 90s, 10m, 1h, 2d."),
]
YoungerThan = Annotated[
    float | None,
    typer.Option(parser=seconds_of, metavar="AGE", help="Given up since then: 90s, 10m, 1h, 2d."),
]
User = Annotated[str | None, typer.Option(help="Steps of this user's logins.")]
Workflow = Annotated[UUID | None, typer.Option(help="Steps of this workflow.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, max=HIGHEST_LIMIT, help="No more than so many, the oldest first."),
]
All = Annotated[bool, typer.Option("--all", help="Everything that is given up.")]
Rate = Annotated[float, typer.Option(callback=as_rate, help="At most so many steps a second.")]


@app.command("list")
def list_dead(
    ids: Id = None,
    pool: Pool = None,
    queue: Queue = None,
    task: Task = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    user: User = None,
    workflow: Workflow = None,
    limit: Annotated[
        int, typer.Option(min=0, max=HIGHEST_LIMIT, help="Show so many; 0: all.")
    ] = 100,
    ledger_only: Annotated[
        bool, typer.Option("--ledger-only", help="Do not look into the dead-letter queues.")
    ] = False,
    all_letters: Annotated[
        bool, typer.Option("--all-letters", help="Look into queues of any length.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what is given up, the oldest first."""
    with opened() as desk:
        wanted = _selection(
            desk, ids, pool, queue, task, reason, older_than, younger_than, user, workflow, limit
        )
        survey = select(desk.connection, wanted)
        names = () if ledger_only else _places(desk, wanted, survey)
        waiting = {name: desk.letters.waiting(name) for name in names}
        looked = {name: all_letters or count <= LOOK_AT_MOST for name, count in waiting.items()}
        readable = [name for name, count in waiting.items() if count and looked[name]]
        look_into(desk.connection, desk.letters, readable, wanted, survey)
    skipped = {name: waiting[name] for name, is_looked in looked.items() if not is_looked}
    if as_json:
        rows = [dead_view.as_row(d, looked.get(d.queue or "", False)) for d in survey.dead]
        counts = {"total": survey.total, "stale": len(survey.stale), "not_looked_into": skipped}
        print_json({"dead": rows, **counts})
        return
    if survey.dead:
        dead_view.print_list(survey.dead, looked)
    _print_counts(survey, skipped)


@app.command("show")
def show_dead(
    step: Annotated[str, typer.Argument(help="As the list names it.", metavar="ID")],
    as_json: AsJson = False,
) -> None:
    """Show one step with its message, its error, what waits behind it, and who acted on it."""
    with opened() as desk:
        row = whole(desk.connection, step)
        desk.connection.rollback()
        names = [row["queue"]] if row and row["queue"] in desk.topology.queues else None
        letters = [
            letter
            for name in names or desk.topology.queues
            for letter in desk.letters.read(name)
            if letter.id == step
        ]
    if row is None and not letters:
        raise NotFound(f"there is no step {step}, nor a dead letter of that name")
    detail = dead_view.as_detail(row, letters)
    if as_json:
        print_json(detail)
    else:
        dead_view.print_detail(detail)


@app.command("replay")
def replay_dead(
    steps: Ids = None,
    ids: Id = None,
    pool: Pool = None,
    queue: Queue = None,
    task: Task = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    user: User = None,
    workflow: Workflow = None,
    limit: Limit = None,
    everything: All = False,
    onto: Annotated[
        str | None,
        typer.Option(help="Let them wait in this queue of their pool in place of their own."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    rate: Rate = RATE_PER_SECOND,
    as_json: AsJson = False,
) -> None:
    """Run given-up steps again, with fresh retries; what was blocked behind them goes on."""
    with opened() as desk:
        named = [*(steps or ()), *(ids or ())] or None
        wanted = _selection(
            desk, named, pool, queue, task, reason, older_than, younger_than, user, workflow, limit
        )
        _refuse_no_filter(wanted, pool or queue, everything)
        place = _onto(desk.topology, onto) if onto is not None else None
    code = act("replay", wanted, dry_run=dry_run, yes=yes, rate=rate, as_json=as_json, onto=place)
    raise typer.Exit(code)


@app.command("drop")
def drop_dead(
    steps: Ids = None,
    ids: Id = None,
    pool: Pool = None,
    queue: Queue = None,
    task: Task = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    user: User = None,
    workflow: Workflow = None,
    limit: Limit = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take given-up steps off the list, and their messages out of the dead-letter queues."""
    with opened() as desk:
        named = [*(steps or ()), *(ids or ())] or None
        wanted = _selection(
            desk, named, pool, queue, task, reason, older_than, younger_than, user, workflow, limit
        )
        _refuse_no_filter(wanted, pool or queue, everything)
    raise typer.Exit(act("drop", wanted, dry_run=dry_run, yes=yes, rate=1e6, as_json=as_json))


def act(
    action: Action,
    wanted: Selection,
    *,
    dry_run: bool,
    yes: bool,
    rate: float,
    as_json: bool,
    onto: Onto | None = None,
) -> int:
    """Look, ask, do it and tell; returns the exit code. onto: for a replay, another queue.

    Raises:
        ConfigurationError: somebody would have to be asked, and nobody can be.
        NotFound: none of the steps named is known to anybody.
    """
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError(
                f"nobody can be asked here (standard input is no terminal): {action} with --yes,"
                " or look first with --dry-run"
            )
        with opened() as desk:
            _ask(action, _survey(desk, wanted))
    with opened() as desk:
        operator = Operator(actor(), action, desk.topology.work_exchange, onto)
        survey = _survey(desk, wanted)
        missing = _missing(desk, wanted, survey)
        result = (
            rehearse(desk.connection, survey, operator)
            if dry_run
            else _perform(desk, survey, operator, rate)
        )
    result.acted += missing
    if as_json:
        print_json(dead_view.as_outcome(result, operator, dry_run))
    else:
        dead_view.print_outcome(result, operator, dry_run)
    return REFUSED if result.problems else OK


def _onto(topology: Topology, queue: str) -> Onto:
    [name] = queues_of(topology, None, queue, "--onto")
    return Onto(name, partial(topology.does, name))


def _perform(desk: Desk, survey: Survey, operator: Operator, rate: float) -> Pass:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(operator.action, total=len(survey.dead))
        return perform(
            desk.ledger,
            desk.connection,
            desk.letters,
            survey,
            operator,
            rate,
            lambda count: progress.advance(bar, count),
        )


def _survey(desk: Desk, wanted: Selection) -> Survey:
    survey = select(desk.connection, wanted)
    look_into(desk.connection, desk.letters, _places(desk, wanted, survey), wanted, survey)
    # Whoever is asked may think for longer than PostgreSQL lets a transaction stand still.
    desk.connection.rollback()
    return survey


def _ask(action: Action, survey: Survey) -> None:
    if not survey.dead:
        return
    what = f"{counted(len(survey.dead), 'step')} ({summed([d.task for d in survey.dead])})"
    typer.confirm(f"{action} {what}?", abort=True, err=True)


def _missing(desk: Desk, wanted: Selection, survey: Survey) -> list[Acted]:
    """The steps that were named and are not given up, each with what it is instead."""
    found = {dead.id for dead in survey.dead}
    named = [step_id for step_id in dict.fromkeys(wanted.ids or ()) if step_id not in found]
    rows = states_of(desk.connection, named)
    desk.connection.rollback()
    if named and not rows and not found:
        raise NotFound(f"there is no step {', '.join(named)}, nor a dead letter of that name")
    missing = []
    for step_id in named:
        row = rows.get(step_id)
        dead = Dead(step_id, None, row["task"] if row else None, "unknown", None, None)
        problem: str | None = "there is no such step, nor a dead letter"
        if row is not None:
            is_elsewhere = row["state"] in GIVEN_UP
            problem = "the other filters exclude it" if is_elsewhere else problem_of(dead, row)
        missing.append(Acted(dead, problem or "it was not found"))
    return missing


def _places(desk: Desk, wanted: Selection, survey: Survey) -> Iterable[str]:
    """The queues in which something that is meant may stand."""
    all_known = wanted.ids is not None and {d.id for d in survey.dead} >= set(wanted.ids)
    if all_known or wanted.is_of_the_ledger:
        return [name for name in desk.topology.queues if name in {d.queue for d in survey.dead}]
    return wanted.queues if wanted.queues is not None else tuple(desk.topology.queues)


def _selection(
    desk: Desk,
    ids: Sequence[str] | None,
    pool: str | None,
    queue: str | None,
    task: str | None,
    reason: GivenUpReason | None,
    older_than: float | None,
    younger_than: float | None,
    user: str | None,
    workflow: UUID | None,
    limit: int | None,
) -> Selection:
    named = queues_of(desk.topology, pool, queue) if pool or queue else None
    return Selection(
        ids=tuple(ids) if ids else None,
        queues=named,
        task=task,
        reason=reason,
        user=user,
        workflow=workflow,
        older_than=older_than,
        younger_than=younger_than,
        limit=limit or None,
    )


def _refuse_no_filter(wanted: Selection, place: str | None, everything: bool) -> None:
    if replace(wanted, limit=None) == Selection() and not place and not everything:
        raise ConfigurationError("say which: ids, filters such as --task, or --all")


def _print_counts(survey: Survey, skipped: dict[str, int]) -> None:
    shown: Any = f", {len(survey.dead):,} shown" if survey.total > len(survey.dead) else ""
    typer.echo(f"{counted(survey.total, 'step')} given up{shown}")
    if survey.stale:
        typer.echo(
            f"{counted(len(survey.stale), 'stale dead letter')} of steps that went on:"
            " the next replay or drop removes them"
        )
    for name, count in skipped.items():
        typer.echo(
            f"{name}.dead was not looked into: it has {count:,} letters (--all-letters does)"
        )
