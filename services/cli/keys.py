"""`doorbell key`: the API keys by which applications report logins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import tenants
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.output import AsJson, print_json, print_table
from services.domain.errors import ConfigurationError

app = typer.Typer(help="The API keys of tenants.", no_args_is_help=True)

CACHED_SECONDS = 10
"""So long a gateway may still take a key that was revoked: `services.gateway.authentication`."""


@app.command("create")
def create_key(
    tenant: Annotated[str, typer.Argument(help="The tenant's id.")],
    key_file: Annotated[
        Path | None, typer.Option(help="Take the key from this file, and print nothing secret.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a tenant an API key. It is printed this once: only its digest is kept."""
    given = text_of(key_file) if key_file else None
    with connected(find().database_url) as connection:
        key = tenants.create_key(connection, tenant, given)
    if as_json:
        print_json({"tenant": tenant} | ({} if key_file else {"api_key": key}))
    else:
        typer.echo(f"{tenant} has the key in {key_file}" if key_file else key)


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Argument(help="The keys of this tenant alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys. They are named by the beginning of their SHA-256 digest: keys themselves are not kept."""
    with connected(find().database_url) as connection:
        rows = tenants.keys(connection, tenant)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("KEY", "TENANT", "CREATED", "REVOKED"),
        [
            (
                row["key"],
                row["tenant"],
                f"{row['created_at']:%F %T %Z}",
                row["revoked_at"] and f"{row['revoked_at']:%F %T %Z}",
            )
            for row in rows
        ],
    )


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="As `key list` names it.", metavar="KEY")],
    last: Annotated[
        bool, typer.Option("--last", help="Also the only key that its tenant has.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a key away: whoever uses it is answered 401, ten seconds later at every gateway.

    One that is revoked stays so; give the tenant another with `key create`.
    """
    with connected(find().database_url) as connection:
        tenant = tenants.revoke_key(connection, key, last)
    if as_json:
        print_json({"key": key, "tenant": tenant, "revoked": True})
    else:
        typer.echo(f"{key} of {tenant} is revoked; gateways notice within {CACHED_SECONDS} s")


def text_of(path: Path) -> str:
    """What a file holds, without the blanks around it.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
