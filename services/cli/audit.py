"""`doorbell audit`: what operators did, and who they were."""

from __future__ import annotations

import os
import pwd
import socket
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from psycopg import Connection
from psycopg.rows import dict_row

from services.cli.amounts import seconds_of
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.output import AsJson, print_json, print_table
from services.observability.redaction import redact
from services.queries import load_queries
from services.settings import ACTOR_VARIABLE

_SQL = {name: text.encode() for name, text in load_queries(__package__, "audit.sql").items()}


def actor() -> str:
    """Who is at the keyboard, for the audit trail: user@host.

    On hosts and in containers the command runs as a user of its own; whoever
    starts it there says in DOORBELL_ACTOR for whom; root is whoever became it by sudo.
    """
    name = os.environ.get(ACTOR_VARIABLE, "").strip()
    if name in ("", "root"):
        name = os.environ.get("SUDO_USER", "").strip() or name
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    # What is no UTF-8 in an environment cannot be stored.
    return f"{name}@{socket.gethostname()}".encode(errors="replace").decode()


def note(connection: Connection[Any], command: str, subject: str) -> None:
    """Put a command into the trail, with the transaction that does what it says."""
    connection.execute(_SQL["note"], {"command": command, "subject": subject, "actor": actor()})


def trail(
    connection: Connection[Any], since: datetime, by: str | None, limit: int
) -> list[dict[str, Any]]:
    """`acted_at`, `actor`, `command`, `subject` of what was done since then, the latest first.

    by: a part of the actor's name, or None for all of them.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL["trail"], {"since": since, "actor": by, "limit": limit})
        # A reason is free text, and people write into it whom it was about.
        return [{**row, "subject": redact(row["subject"])} for row in cursor.fetchall()]


def show(
    since: Annotated[
        float, typer.Option(parser=seconds_of, metavar="AGE", help="Not longer ago: 1h, 7d.")
    ] = "7d",  # type: ignore[assignment]  # parsed like what is given
    by: Annotated[
        str | None, typer.Option(help="Only who has this in his name, USER or HOST.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="At most so many, the latest.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """List what operators did by hand: pauses, limits, drains, breakers, dead letters, locks, keys, tenants.

    A command has a line for each scope that it changed, and for each portion of
    users or messages; one that broke off may have done less than it says. Whom
    it was about stays out of it: mail addresses, IP addresses and tokens too.
    """
    begin = datetime.now(UTC) - timedelta(seconds=since)
    with connected(find().database_url) as connection:
        rows = trail(connection, begin, by, limit)
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("command", "subject", "actor")
        print_table(
            ("WHEN", "DID", "TO", "WHO"),
            [(f"{row['acted_at']:%F %T %Z}", *(row[name] for name in columns)) for row in rows],
        )
    else:
        typer.echo("nobody did anything by hand in that time")
