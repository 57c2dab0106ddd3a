"""`doorbell users certificate`: verifies what an erasure has certified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.exits import REFUSED, NotFound
from services.cli.output import AsJson, print_json, print_table
from services.cli.personal import fetch, show_end
from services.domain.certificate import is_genuine
from services.domain.errors import ConfigurationError, Refused
from services.domain.json_objects import once_each

ErasureId = Annotated[
    UUID,
    typer.Argument(help="As `users erase` or the application was answered.", metavar="ERASURE_ID"),
]
Copy = Annotated[
    Path | None,
    typer.Option("--file", help="Verify this copy of it (JSON), in place of the one that is kept."),
]


def certificate(erasure_id: ErasureId, file: Copy = None, as_json: AsJson = False) -> None:
    """Show an erasure's certificate, and verify its signature; 1 when it was changed, or there is none yet."""
    copy = None if file is None else _read(file)
    with connected(find().database_url) as connection:
        rows = fetch(connection, "erasure", id=erasure_id)
    if not rows:
        raise NotFound(f"there is no erasure {erasure_id}")
    found = rows[0]["certificate"] if copy is None else copy
    if found is None:
        raise Refused(_why_there_is_none(rows[0]))
    genuine = found.get("erasure_id") == str(erasure_id) and is_genuine(rows[0]["key"], found)
    if as_json:
        print_json({"genuine": genuine, "certificate": found})
    elif genuine:
        print_table(
            ("KEPT IN", "DELETED", "LEFT"),
            [(it["place"], f"{it['deleted']:,}", it["left"]) for it in found["places"]],
        )
        show_end(found)
        typer.echo("its signature is genuine")
    if not genuine:
        typer.echo("this certificate is not as it was signed: do not rely on it", err=True)
        raise typer.Exit(REFUSED)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=once_each)
    except OSError as error:
        raise ConfigurationError(f"--file: {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"--file: {file} is no JSON: {error}") from None
    # As HTTP and `users erase --json` give it, within more.
    inner = found.get("certificate", found) if isinstance(found, dict) else None
    if not isinstance(inner, dict):
        raise ConfigurationError(f"--file: {file} is no certificate: give the JSON object alone")
    return inner


def _why_there_is_none(row: dict[str, Any]) -> str:
    erasure_id = row["id"]
    if not row["is_pending"]:
        return f"erasure {erasure_id} has no certificate: it was asked for again, or is of before there were any"
    return (
        f"erasure {erasure_id} has no certificate yet ({row['state'] or 'begun'}): doorbell trace {erasure_id}"
        " shows its steps"
    )
