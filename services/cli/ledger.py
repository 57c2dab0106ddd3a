"""`doorbell ledger`: what the ledger can do for the broker."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.progress import Progress

from services.cli import audit
from services.cli.amounts import as_rate, counted, seconds_of
from services.cli.database import connected, fetch
from services.cli.desk import Desk, opened, queues_of
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED
from services.cli.options import DryRun
from services.cli.output import AsJson, print_json, print_table
from services.ledger.republish import Lost, count, republish
from services.observability.redaction import redact

app = typer.Typer(help="The ledger.", no_args_is_help=True)

_POLL_SECONDS = 0.2


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
        if not dry_run:
            audit.note(desk.connection, "ledger republish", queue or "every queue")
            desk.connection.commit()
        published, refusing = (0, set[str]()) if dry_run else _run(desk, before, queue, rate, lost)
    if as_json:
        found = [asdict(each) for each in lost]
        result = {"published": published, "refusing": sorted(refusing), "found": found}
        print_json(result | {"dry_run": dry_run})
    else:
        _print(lost, published, refusing, dry_run)
    raise typer.Exit(REFUSED if refusing else OK)


@app.command("blockers")
def blockers(
    end: Annotated[
        bool,
        typer.Option("--end", help="End these sessions; what they have not committed is undone."),
    ] = False,
    look: Annotated[
        float,
        typer.Option("--for", min=0, max=300, help="Look for so many seconds, until there is one."),
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the sessions of others that hold a lock which Doorbell waits for.

    Ours are not listed: they end by themselves. Ours that wait give up after
    some seconds and come again, so one look may be too early. Exit code 1: there
    are some, and with --end, some are left.
    """
    deadline = monotonic() + look
    with connected(find().database_url) as connection:
        while not (found := fetch(connection, "blockers")) and monotonic() < deadline:
            # Within a transaction the server shows the sessions of its first look.
            connection.rollback()
            sleep(_POLL_SECONDS)
        left = [each for each in found if not (end and _ended(connection, each))]
    for each in found:
        each["query"] = redact(each["query"])
    if as_json:
        print_json({"found": found, "left": [each["pid"] for each in left]})
    else:
        _print_blockers(found, len(found) - len(left))
    raise typer.Exit(REFUSED if left else OK)


def _ended(connection: psycopg.Connection[dict[str, Any]], session: dict[str, Any]) -> bool:
    pid, user, application = (session[name] for name in ("pid", "user", "application"))
    try:
        with connection.transaction():
            audit.note(connection, "ledger blockers --end", f"{pid} of {user}, {application!r}")
            return bool(fetch(connection, "end_session", pid=pid)[0]["is_gone"])
    except psycopg.errors.InsufficientPrivilege as error:
        typer.echo(f"{pid}: {error.diag.message_primary}: have a superuser end it", err=True)
        return False


def _print_blockers(found: list[dict[str, Any]], ended: int) -> None:
    if not found:
        typer.echo("nobody else holds a lock that Doorbell waits for")
        return
    print_table(
        ("PID", "USER", "APPLICATION", "CLIENT", "FOR", "HOLDS UP", "LAST STATEMENT"),
        [
            (
                *(each[name] for name in ("pid", "user", "application", "client")),
                None if each["seconds"] is None else f"{each['seconds']:,.0f} s",
                each["waiting"],
                " ".join(each["query"].split())[:80],
            )
            for each in found
        ],
    )
    if ended:
        typer.echo(f"{counted(ended, 'session')} ended")


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
