"""`doorbell webhook`: where a tenant's application hears of things."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from services.cli import audit
from services.cli.amounts import counted
from services.cli.database import Connection, connected
from services.cli.endpoints import find
from services.cli.exits import REFUSED
from services.cli.output import AsJson, print_json, print_table
from services.cli.tenants import UnknownTenant
from services.domain.errors import ConfigurationError, Refused
from services.queries import load_queries

app = typer.Typer(help="Where applications hear of verdicts and switches.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(help="The tenant's id.")]

_SQL = {name: text.encode() for name, text in load_queries(__package__, "webhooks.sql").items()}
_SECRET = re.compile(r"[\x21-\x7e]{32,500}")
_BASE64_FOLLOWS = "whsec_"
_LONGEST_URL = 2_000
_LONGEST_TEST_SECONDS = 30.0


@app.command("set")
def set_webhook(
    tenant: TenantId,
    url: Annotated[str, typer.Argument(help="Such as https://shop.example/doorbell.")],
    secret_file: Annotated[
        Path | None, typer.Option(help="The file with the secret to sign with.")
    ] = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Make another secret, although there is one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have an application called at this URL. A secret that is made is printed this once.

    The secret that is there stays, unless one is given or another is wanted:
    what is signed from then on is signed with that one alone.
    """
    _check_url(url)
    given = _read_secret(secret_file) if secret_file else None
    if given and new_secret:
        raise ConfigurationError("--secret-file and --new-secret: give one of them")
    with connected(find().database_url) as connection:
        kept = _find(connection, tenant)["secret"]
        made = None
        if not given and (new_secret or not kept):
            made = f"{_BASE64_FOLLOWS}{base64.b64encode(secrets.token_bytes(32)).decode()}"
        _run(connection, "set", tenant=tenant, url=url, secret=given or made or kept)
        audit.note(connection, "webhook set", f"{tenant} to {_host(url)}")
    if as_json:
        print_json({"tenant": tenant, "url": url, "secret": made})
    else:
        typer.echo(f"{tenant} hears at {url}; try it: doorbell webhook test {tenant}")
        if made:
            typer.echo(f"its secret, which is shown this once: {made}")


@app.command("unset")
def unset(tenant: TenantId, as_json: AsJson = False) -> None:
    """Call an application no more, and give up what it was still to hear."""
    with connected(find().database_url) as connection:
        if not _find(connection, tenant)["url"]:
            raise Refused(f"{tenant} has no webhook")
        [row] = _run(connection, "unset", tenant=tenant)
        audit.note(connection, "webhook unset", tenant)
    if as_json:
        print_json({"tenant": tenant, "given_up": row["dropped"]})
    else:
        typer.echo(f"{tenant} has no webhook any more, {_events(row['dropped'])} given up")


@app.command("show")
def show(
    tenant: Annotated[str | None, typer.Argument(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List webhooks, with what waits for them, and what was given up within a month."""
    with connected(find().database_url) as connection:
        if tenant is not None:
            _find(connection, tenant)
        rows = _run(connection, "shown", tenant=tenant)
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("no tenant has a webhook: doorbell webhook set TENANT URL")
    else:
        print_table(
            ("TENANT", "URL", "ANSWERED", "WAITING", "GIVEN UP", "LEFT ALONE UNTIL", "PROBLEM"),
            [
                (
                    row["tenant"],
                    row["url"] or "none",
                    _time(row["answered_at"]),
                    _waiting(row),
                    f"{row['given_up']:,}",
                    _time(row["left_alone_until"]),
                    row["problem"],
                )
                for row in rows
            ],
        )


@app.command("test")
def try_out(tenant: TenantId, as_json: AsJson = False) -> None:
    """Send a tenant's application an event that says nothing, and wait for its answer."""
    with connected(find().database_url) as connection:
        if not _find(connection, tenant)["url"]:
            raise Refused(f"{tenant} has no webhook: doorbell webhook set {tenant} URL")
        [sent] = _run(connection, "test", tenant=tenant)
        audit.note(connection, "webhook test", tenant)
    outcome = _wait(sent["id"])
    if as_json:
        print_json({"tenant": tenant, "id": sent["id"], **outcome})
    else:
        typer.echo(f"{tenant}: {outcome['answer'] or 'not called yet: doorbell pool list'}")
    if outcome["state"] != "sent":
        raise typer.Exit(REFUSED)


@app.command("retry")
def retry(tenant: TenantId, as_json: AsJson = False) -> None:
    """Call an application now with all that waits, and with what was given up within a month."""
    with connected(find().database_url) as connection:
        if not _find(connection, tenant)["url"]:
            raise Refused(f"{tenant} has no webhook: doorbell webhook set {tenant} URL")
        [row] = _run(connection, "retry", tenant=tenant)
        audit.note(connection, "webhook retry", f"{tenant}, {_events(row['again'])}")
    if as_json:
        print_json({"tenant": tenant, "again": row["again"]})
    else:
        typer.echo(f"{tenant} is called now; {_events(row['again'])} that had been given up")


def _wait(event: object) -> dict[str, Any]:
    """What became of an event, as soon as it was tried once."""
    until = monotonic() + _LONGEST_TEST_SECONDS
    while True:
        with connected(find().database_url) as connection:
            [outcome] = _run(connection, "outcome", event=event)
        if outcome["state"] != "due" or outcome["answer"] or monotonic() > until:
            return outcome
        sleep(0.2)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or len(url) > _LONGEST_URL or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ConfigurationError(f"{url!r} is no URL to call: write https://host/path")
    if parts.username is not None or parts.fragment:
        raise ConfigurationError(
            "the URL has a user or a fragment, which are not sent: leave them out"
        )
    if parts.scheme == "http":
        typer.echo(
            f"calls by http:// are refused unless {parts.hostname} is in DOORBELL_ALLOWED_PRIVATE_HOSTS",
            err=True,
        )


def _read_secret(file: Path) -> str:
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--secret-file: {file} cannot be read: {error}") from error
    if not _SECRET.fullmatch(secret):
        raise ConfigurationError(
            f"--secret-file: {file} has no secret: 32 to 500 printable ASCII characters without spaces"
        )
    if secret.startswith(_BASE64_FOLLOWS):
        try:
            base64.b64decode(secret.removeprefix(_BASE64_FOLLOWS), validate=True)
        except binascii.Error as error:
            raise ConfigurationError(
                f"--secret-file: the secret in {file} is not base64 after {_BASE64_FOLLOWS}"
            ) from error
    return secret


def _find(connection: Connection, tenant: str) -> dict[str, Any]:
    found = _run(connection, "find", tenant=tenant)
    if not found:
        raise UnknownTenant(f"there is no tenant {tenant}")
    return found[0]


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _events(count: int) -> str:
    return counted(count, "event")


def _waiting(row: dict[str, Any]) -> str:
    if not row["waiting"]:
        return "0"
    return f"{row['waiting']:,} since {_time(row['waiting_since'])}"


def _time(moment: Any) -> str:
    return f"{moment:%F %T %Z}" if moment else ""


def _run(connection: Connection, name: str, **values: object) -> list[dict[str, Any]]:
    cursor = connection.execute(_SQL[name], values)
    return cursor.fetchall() if cursor.description else []
