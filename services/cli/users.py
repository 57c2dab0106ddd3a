"""`doorbell users`: what operators do with users."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import Connection
from psycopg.rows import dict_row

from services.cli.amounts import counted, seconds_of
from services.cli.audit import actor, note
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.exits import NotFound
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson, print_json, print_table
from services.domain.errors import ConfigurationError, Refused
from services.ledger.labels import pseudonym, search_of_user
from services.queries import load_queries

app = typer.Typer(help="The users whose logins are watched.", no_args_is_help=True)

_SQL = {
    name: text.encode()
    for name, text in (
        load_queries("services.cli", "users.sql") | load_queries("services", "switches.sql")
    ).items()
}
_PORTION = 500
_SHOWN = 20
_REASON = "unlocked by hand"

NamesFile = Annotated[
    Path | None, typer.Option(help="And those in this file, one a line; - is standard input.")
]


class SwitchName(StrEnum):
    """The switches that a verdict can turn on."""

    locked = "locked"
    require_step_up = "require_step_up"


@app.command("show")
def show(
    user: Annotated[
        str, typer.Argument(help="As the application names the user.", metavar="USER_ID")
    ],
    tenant: Annotated[str | None, typer.Option(help="Only this application's user.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say when a user last logged in, which switches are on, and how Flower finds the user's tasks.

    Monitors know a user by a pseudonym alone.
    """
    with connected(find().database_url) as connection:
        found = _run(connection, "known", {"user": user, "tenant": tenant})
    if not found:
        raise NotFound(f"no login of a user {user} is in the ledger")
    for row in found:
        row["user"], key = user, row.pop("pseudonym_key")
        row["flower_search"] = search_of_user(pseudonym(key, user))
    if as_json:
        print_json(found)
        return
    print_table(
        ("TENANT", "LAST LOGIN", "ITS WORKFLOW", "SWITCHES ON", "SEARCH IN FLOWER"),
        [
            (
                row["tenant_id"],
                f"{row['last_login']:%F %T %Z}",
                row["last_workflow"],
                " ".join(row["switches"]) or "none",
                row["flower_search"],
            )
            for row in found
        ],
    )


@app.command("unlock")
def unlock(
    names: Annotated[
        list[str] | None, typer.Argument(help="These users.", metavar="USER_ID")
    ] = None,
    switch: Annotated[SwitchName, typer.Option(help="Which switch.")] = SwitchName.locked,
    tenant: Annotated[str | None, typer.Option(help="Only this application's users.")] = None,
    file: NamesFile = None,
    because: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Those whose switch was last turned on for it, as lock's --reason said.",
        ),
    ] = None,
    younger_than: Annotated[
        float | None,
        typer.Option(parser=seconds_of, metavar="AGE", help="Locked since then: 90s, 10m, 1h, 2d."),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Everybody who is locked.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Turn a switch of users off again: those named, those of a tenant, those locked since then or for a reason.

    Who is named and not locked is left out. In portions, each with its rows
    in the audit trail; safe to interrupt and to repeat.
    """
    users = _named(names, file)
    if not (users or tenant or because or younger_than is not None or everyone):
        raise ConfigurationError(
            "say who: USER_ID..., --file, --tenant, --because, --younger-than, or --all for everybody who is locked"
        )
    since = None if younger_than is None else datetime.now(UTC) - timedelta(seconds=younger_than)
    wanted = {
        "name": switch.value,
        "tenant": tenant,
        "users": users if names or file else None,
        "reason": because,
        "since": since,
    }
    with connected(find().database_url) as connection:
        if tenant is not None and not _run(connection, "is_tenant", {"tenant": tenant}):
            raise ConfigurationError(f"--tenant: there is no tenant {tenant}: doorbell tenant list")
        found = _run(connection, "locked", wanted)
        connection.rollback()
        if not found:
            raise NotFound(f"nobody of those is {_word(switch)}")
        if not dry_run:
            _ask(found, switch, "off", yes)
            _turn(connection, "turn_off", found, switch, _REASON)
    if as_json:
        print_json({"switch": switch.value, "dry_run": dry_run, "users": found})
        return
    _show(found if dry_run else found[:_SHOWN], len(found))
    turned = {row["user_id"] for row in found}
    if left := [user for user in users if user not in turned]:
        typer.echo(f"left out, as not {_word(switch)}: {_some(left)}", err=True)
    done = "would be unlocked" if dry_run else "unlocked"
    typer.echo(f"{counted(len(found), 'user')} {done} ({switch.value})")


@app.command("lock")
def lock(
    tenant: Annotated[str, typer.Argument(help="The application whose users these are.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="These users.", metavar="USER_ID")
    ] = None,
    file: NamesFile = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "locked by hand",
    switch: Annotated[SwitchName, typer.Option(help="Which switch.")] = SwitchName.locked,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out who has never logged in.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Turn a switch of these users on, until `unlock`. Nobody is told but the application.

    Refused, and nothing changed, when one of them is never to be locked by the
    tenant's policy, or has never logged in, unless those are to be skipped;
    they are named then. In portions, each with its
    rows in the audit trail; safe to interrupt and to repeat: who is locked
    already stays as it is.
    """
    users = _named(names, file)
    if not users:
        raise ConfigurationError("say who: USER_ID..., or --file with one a line")
    with connected(find().database_url) as connection:
        asked = {"tenant": tenant, "users": users, "name": switch.value}
        found = {row["user_id"]: row["is_on"] for row in _run(connection, "of_tenant", asked)}
        kept = _run(connection, "never_locked", {"tenant": tenant, "users": users})
        connection.rollback()
        if kept and switch is SwitchName.locked:
            raise Refused(
                f"by the policy of {tenant} these are never locked: {_some([r['user_id'] for r in kept])};"
                f" nobody was locked (doorbell policy show {tenant})"
            )
        unknown = [user for user in users if user not in found]
        if unknown and not (skip_unknown and found):
            leave_out = " (--skip-unknown leaves them out)" if found else ""
            raise NotFound(
                f"{counted(len(unknown), 'user')} of {tenant} never logged in:"
                f" {_some(unknown)}; nobody was locked{leave_out}"
            )
        known = [user for user in users if user in found]
        due = [{"tenant_id": tenant, "user_id": user} for user in known if not found[user]]
        if due and not dry_run:
            _ask(due, switch, "on", yes)
            _turn(connection, "turn_on_for_good", due, switch, reason)
    if as_json:
        print_json({"switch": switch.value, "dry_run": dry_run, "users": due, "unknown": unknown})
        return
    for user in unknown:
        typer.echo(f"never logged in: {user}", err=True)
    done = "would be locked" if dry_run else "locked"
    before = len(known) - len(due)
    typer.echo(f"{counted(len(due), 'user')} {done} ({switch.value}), {before:,} were before")


@app.command("resubscribe")
def resubscribe(
    tenant: Annotated[str, typer.Argument(help="The application whose user this is.")],
    user: Annotated[
        str, typer.Argument(help="As the application names the user.", metavar="USER_ID")
    ],
    as_json: AsJson = False,
) -> None:
    """Send a user who has unsubscribed mails about new devices again."""
    with connected(find().database_url) as connection:
        if not _run(connection, "resubscribe", {"tenant": tenant, "user": user}):
            raise NotFound(f"no user {user} of {tenant} has unsubscribed")
        note(connection, "users resubscribe", f"1 of {tenant}")
    if as_json:
        print_json({"tenant": tenant, "user": user})
    else:
        typer.echo(f"{user} gets mails about new devices again")


def _some(users: list[str]) -> str:
    more = f" and {len(users) - _SHOWN:,} more" if len(users) > _SHOWN else ""
    return f"{', '.join(users[:_SHOWN])}{more}"


def _show(found: list[dict[str, Any]], count: int) -> None:
    print_table(
        ("TENANT", "USER", "SINCE"),
        [(row["tenant_id"], row["user_id"], f"{row['changed_at']:%F %T %Z}") for row in found],
    )
    more = count - len(found)
    typer.echo(f"and {more:,} more" if more > 0 else "", nl=more > 0)


def _named(names: list[str] | None, file: Path | None) -> list[str]:
    """Those named and those in the file, each once."""
    listed = lines_of(file, "--file") if file else []
    if file and not any(listed):
        raise ConfigurationError(f"--file {file} names nobody: write one user a line")
    return [name for name in dict.fromkeys([*(names or []), *listed]) if name]


def lines_of(file: Path, option: str) -> list[str]:
    """The lines of a file, or of standard input where it is called -; option: what names the file.

    Raises:
        ConfigurationError: it cannot be read, is no UTF-8, or has a line that is no name.
    """
    try:
        text = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode(
            "utf-8-sig"
        )
    except OSError as error:
        raise ConfigurationError(f"{option} {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{option} {file} is no UTF-8: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, start=1):
        # The database cannot store it, and would name neither file nor line.
        if "\0" in line:
            raise ConfigurationError(
                f"{option} {file}: line {number} is no user's name: it contains the character U+0000"
            )
    return lines


def _word(switch: SwitchName) -> str:
    return "locked" if switch is SwitchName.locked else "asked for a second factor"


def _ask(found: list[dict[str, Any]], switch: SwitchName, way: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): say --yes,"
            " or look first with --dry-run"
        )
    question = f"turn {switch.value} {way} for {counted(len(found), 'user')}?"
    typer.confirm(question, abort=True, err=True)


def _turn(
    connection: Connection[Any],
    query: str,
    found: list[dict[str, Any]],
    switch: SwitchName,
    reason: str,
) -> None:
    # `incident` uses this module too, and does not need them for a stop.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(switch.value, total=len(found))
        for start in range(0, len(found), _PORTION):
            portion = found[start : start + _PORTION]
            values = {
                "tenants": [row["tenant_id"] for row in portion],
                "users": [row["user_id"] for row in portion],
                "names": [switch.value] * len(portion),
                "reason": reason,
                "actor": actor(),
            }
            _run(connection, query, values)
            connection.commit()
            progress.advance(bar, len(portion))


def _run(connection: Connection[Any], name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []
