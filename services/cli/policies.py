"""`doorbell policy`: what is done about the verdicts of a tenant's users."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from services.cli import audit
from services.cli.amounts import counted, seconds_of
from services.cli.database import Connection, connected, fetch
from services.cli.endpoints import find
from services.cli.output import AsJson, print_json, print_table
from services.cli.policy_file import read_policy
from services.cli.tenants import UnknownTenant
from services.domain.policy import DEFAULT

app = typer.Typer(help="What is done about verdicts, for each tenant.", no_args_is_help=True)

PolicyFile = Annotated[Path, typer.Argument(help="The policy, as YAML.")]
TenantId = Annotated[str, typer.Argument(help="The tenant's id.")]


@app.command("check")
def check(file: PolicyFile, as_json: AsJson = False) -> None:
    """Say what is wrong with a policy's file, or how it is understood. Nothing is changed."""
    policy = read_policy(file)[0].to_document()
    if as_json:
        print_json(policy)
    else:
        typer.echo(_as_yaml(policy), nl=False)


@app.command("set")
def set_policy(tenant: TenantId, file: PolicyFile, as_json: AsJson = False) -> None:
    """Give a tenant this policy; the next verdict goes by it. Switches that are on stay on."""
    read, text = read_policy(file)
    policy = read.to_document()
    with connected(find().database_url) as connection:
        found = _change(connection, "policy set", tenant, json.dumps(policy), text)
    if as_json:
        print_json({"tenant": tenant, "policy": policy})
    else:
        typer.echo(f"{tenant} has the policy of {file}")
    if read.is_dry_run:
        typer.echo(
            "it is a dry run: from now on verdicts lock nobody, and nobody is sent a notice",
            err=True,
        )
    if ("application" in read.tell.values() or "login.verdict" in read.events) and not found[
        "has_webhook"
    ]:
        typer.echo(
            f"{tenant} has no webhook, so nobody hears what its application is told:"
            f" doorbell webhook set {tenant} URL",
            err=True,
        )


@app.command("unset")
def unset(tenant: TenantId, as_json: AsJson = False) -> None:
    """Take a tenant's policy away: it has the one of everybody who has set none."""
    with connected(find().database_url) as connection:
        _change(connection, "policy unset", tenant, None, None)
    if as_json:
        print_json({"tenant": tenant, "policy": DEFAULT.to_document()})
    else:
        typer.echo(f"{tenant} has the policy of everybody who has set none")


@app.command("show")
def show(tenant: TenantId, as_json: AsJson = False) -> None:
    """Print a tenant's policy as its file has it; of who has set none, what holds then."""
    with connected(find().database_url) as connection:
        found = _find(connection, tenant)
    is_set = found["policy"] is not None
    policy = found["policy"] or DEFAULT.to_document()
    if as_json:
        print_json({"tenant": tenant, "is_set": is_set, "policy": policy})
    elif is_set:
        typer.echo(found["policy_file"], nl=False)
    else:
        typer.echo(
            f"# {tenant} has set none; this is what holds then.\n{_as_yaml(policy)}", nl=False
        )


@app.command("report")
def report(
    tenant: TenantId,
    since: Annotated[
        float, typer.Option(parser=seconds_of, metavar="AGE", help="Not longer ago: 1h, 7d.")
    ] = "7d",  # type: ignore[assignment]  # parsed like what is given
    as_json: AsJson = False,
) -> None:
    """Count verdicts by level, with their scores, and what the policy wanted done about them."""
    begin = datetime.now(UTC) - timedelta(seconds=since)
    with connected(find().database_url) as connection:
        _find(connection, tenant)
        rows = fetch(connection, "verdicts_by_policy", tenant=tenant, since=begin)
    if as_json:
        print_json(rows)
        return
    total = sum(row["verdicts"] for row in rows)
    typer.echo(f"{counted(total, 'verdict')} since {begin:%F %T %Z}")
    print_table(
        ("LEVEL", "DRY RUN", "VERDICTS", "SCORES", "WANTED STEP-UP", "WANTED LOCKED", "A NOTICE"),
        [
            (
                row["level"],
                "yes" if row["dry_run"] else "no",
                f"{row['verdicts']:,}",
                _scores(row),
                f"{row['require_step_up']:,}",
                f"{row['locked']:,}",
                f"{row['notices']:,}",
            )
            for row in rows
        ],
    )


def _scores(row: dict[str, Any]) -> str:
    if row["median"] is None:
        return "none"
    return f"{row['lowest']:.3g} to {row['highest']:.3g}, half up to {row['median']:.3g}"


def _find(connection: Connection, tenant: str) -> dict[str, Any]:
    found = fetch(connection, "policy", tenant=tenant)
    if not found:
        raise UnknownTenant(f"there is no tenant {tenant}")
    return found[0]


def _change(
    connection: Connection, command: str, tenant: str, policy: str | None, text: str | None
) -> dict[str, Any]:
    found = _find(connection, tenant)
    fetch(connection, "set_policy", tenant=tenant, policy=policy, text=text)
    audit.note(connection, command, tenant)
    return found


def _as_yaml(policy: dict[str, Any]) -> str:
    """In the words of the file."""
    return yaml.safe_dump(
        {
            **{key: policy[key] for key in ("levels", "actions", "never_lock", "lock_from")},
            "cooldown": _time(policy["cooldown_seconds"]),
            "expire": {name: _time(seconds) for name, seconds in policy["expire_seconds"].items()},
            "tell": policy["tell"],
            "events": policy["events"],
            "mails_per_hour": policy["mails_per_hour"],
            "unsubscribe": policy["unsubscribe"],
            "digest": policy.get("digest", {}),
            "dry_run": policy["dry_run"],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _time(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:f}".rstrip("0").rstrip(".") + "s"
