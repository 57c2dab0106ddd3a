"""The `doorbell migrate` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import migrations
from services.cli.endpoints import find
from services.cli.output import AsJson, print_json


def migrate(
    directory: Annotated[
        Path, typer.Option(help="Where the migrations are.")
    ] = migrations.DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to this version. Safe to run twice, and at once."""
    applied = migrations.migrate(find().database_url, directory)
    if as_json:
        print_json({"applied": list(applied)})
    else:
        typer.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
