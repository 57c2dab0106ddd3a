"""`doorbell ledger`: what the ledger can do for the broker."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from services.cli.dead import DryRun
from services.cli.desk import Desk, as_rate, counted, opened, queues_of, seconds_of
from services.cli.exits import OK, REFUSED
from services.cli.output import AsJson, print_json, print_table
from services.ledger.republish import Lost, count, republish

app = typer.Typer(help="The ledger.", no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """Keep `republish` a command of its own, also while it is the only one."""


@app.command("republish")
def republish_ledger(
    queue: Annotated[str | None, typer.Option(help="Only what belongs in this queue.")] = None,
    older_than: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="AGE",
            help="What was published longer ago than this: 90s, 10m, 1h.",
        ),
    ] = "1m",  # type: ignore[assignment]  # parsed like what is given
    dry_run: DryRun = False,
    rate: Annotated[
        float, typer.Option(callback=as_rate, help="At most so many messages a second.")
    ] = 500.0,
    as_json: AsJson = False,
) -> None:
    """Publish again what a broker that was rebuilt empty has lost.

    Every step that is neither done nor given up is published again, delayed
    ones for the rest of their delay. What was in the broker all the same is
    delivered twice and done once; only a call that is under way at this moment
    (a mail, the outlier API) may repeat, under the same id. Safe to interrupt,
    to repeat and to run twice at once.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than)
    with opened() as desk:
        queues_of(desk.topology, None, queue)
        lost = count(desk.connection, before, queue)
        desk.connection.rollback()
        published, refusing = (0, set[str]()) if dry_run else _run(desk, before, queue, rate, lost)
    if as_json:
        found = [asdict(each) for each in lost]
        result = {"published": published, "refusing": sorted(refusing), "found": found}
        print_json(result | {"dry_run": dry_run})
    else:
        _print(lost, published, refusing, dry_run)
    raise typer.Exit(REFUSED if refusing else OK)


def _run(
    desk: Desk, before: datetime, queue: str | None, rate: float, lost: list[Lost]
) -> tuple[int, set[str]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("republish", total=sum(each.steps for each in lost))
        return republish(
            desk.ledger,
            desk.topology,
            before,
            queue,
            rate,
            lambda done: progress.advance(bar, done),
        )


def _print(lost: list[Lost], published: int, refusing: set[str], dry_run: bool) -> None:
    if lost:
        print_table(
            ("QUEUE", "STEPS", "DELAYED", "WITHOUT A MESSAGE"),
            [(each.queue, each.steps, each.delayed, each.without_message) for each in lost],
        )
    total = sum(each.steps for each in lost)
    if dry_run:
        typer.echo(f"{counted(total, 'message')} would be published again")
    else:
        typer.echo(f"{counted(published, 'message')} published again")
    if gone := sum(each.without_message for each in lost):
        typer.echo(
            f"{counted(gone, 'step')} sent by hand and never retried: the ledger has no message"
            " of them, send them again"
        )
    for name in sorted(refusing):
        typer.echo(f"{name} refused messages: the next run tries them again", err=True)
