"""`doorbell tenant`: the applications that report logins."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import tenants
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.keys import CACHED_SECONDS
from services.cli.output import AsJson, print_json, print_table
from services.domain.errors import Refused

app = typer.Typer(help="The applications that report logins.", no_args_is_help=True)

_Tenant = Annotated[str, typer.Argument(help="The tenant's id.")]


@app.command("create")
def create_tenant(
    tenant: Annotated[str, typer.Argument(help="A short id: a-z, 0-9, - and _.")],
    name: Annotated[str, typer.Argument(help="The name that users read in their mails.")],
    as_json: AsJson = False,
) -> None:
    """Add a tenant: one application that reports logins."""
    with connected(find().database_url) as connection:
        tenants.create_tenant(connection, tenant, name)
    if as_json:
        print_json({"tenant": tenant, "name": name})
    else:
        typer.echo(f"created {tenant}; give it a key: doorbell key create {tenant}")


@app.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants, with how many requests a second they may make."""
    with connected(find().database_url) as connection:
        rows = tenants.all_tenants(connection)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("TENANT", "NAME", "REQUESTS A SECOND"),
        [(row["tenant"], row["name"], _shown(row["requests_per_second"])) for row in rows],
    )


@app.command("limit")
def limit_tenant(
    tenant: _Tenant,
    requests: Annotated[
        str, typer.Argument(help="So many a second, such as 50 or 0.5; `none` for no limit.")
    ],
    as_json: AsJson = False,
) -> None:
    """Let a tenant make so many requests a second at all gateways together; what is more is answered 429.

    Each login of a batch is one, and so is each read but those of switches. A tenant that was quiet may send five
    seconds' worth at once; a batch is taken whole, and what follows waits.
    """
    per_second = _read(requests)
    with connected(find().database_url) as connection:
        tenants.limit(connection, tenant, per_second)
    if as_json:
        print_json({"tenant": tenant, "requests_per_second": per_second})
    else:
        said = (
            "is not limited"
            if per_second is None
            else f"may make {_shown(per_second)} requests a second"
        )
        typer.echo(f"{tenant} {said}; gateways notice within {CACHED_SECONDS} s")


def _read(requests: str) -> float | None:
    if requests == "none":
        return None
    try:
        found = float(requests)
    except ValueError:
        found = 0.0
    if not 0.01 <= found <= 1_000_000:
        raise Refused(
            f"{requests!r} is no number of requests a second: say 0.01 to 1000000, or none"
        )
    return found


def _shown(per_second: float | None) -> str:
    return "none" if per_second is None else f"{per_second:g}"
