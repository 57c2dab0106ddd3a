"""`doorbell logins`: logins from before Doorbell watched."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress

from services.cli import importing
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED
from services.cli.keys import text_of
from services.cli.login_files import LOGIN_BYTES, Format, read_logins
from services.cli.output import AsJson, print_json, printable
from services.domain.errors import ConfigurationError, DoorbellError

app = typer.Typer(help="Logins.", no_args_is_help=True)

_PART_CHARACTERS = 2 * LOGIN_BYTES
"""A longer line is not held in memory."""


@app.callback()
def _group() -> None:
    """Keep `import` a command of its own, although it is the only one."""


@app.command("import")
def import_logins(
    file: Annotated[Path, typer.Argument(help="The logins; - is standard input.")],
    form: Annotated[
        Format,
        typer.Option("--format", help="rba is the public data set for risk-based authentication."),
    ] = Format.auto,
    gateway: Annotated[str | None, typer.Option(help="Such as https://doorbell.example.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The file with the API key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have Doorbell learn from logins of before: devices become known, nobody is told, nothing is done.

    One JSON object a line, or CSV with the names of its columns first. A bad line
    stops no other, failed logins are skipped, and importing twice is harmless: broken
    off, it goes on where it was when the same file is imported again.
    """
    local = None if gateway and key_file else find()
    gateway = gateway or (local.gateway if local else None)
    api_key = text_of(key_file) if key_file else (local.api_key if local else None)
    if not gateway or not api_key:
        raise ConfigurationError("say where to: --gateway URL and --key-file FILE")
    with bar() as show:
        name = _leave_to_json if as_json else _name
        importer = importing.Importer(gateway, api_key, show, name)
        try:
            with reading(file) as lines:
                importer.run(_key_of(file, form), read_logins(lines, form))
        except (KeyboardInterrupt, DoorbellError):
            _show(importer.outcome, as_json)
            if importer.outcome.found:
                typer.echo(f"doorbell: {_how_to_go_on(file, importer.outcome)}", err=True)
            raise
    _show(importer.outcome, as_json)
    raise typer.Exit(OK if importer.outcome.is_well else REFUSED)


def _how_to_go_on(file: Path, outcome: importing.Outcome) -> str:
    if outcome.found["state"] != "uploading":
        return f"it goes on by itself: doorbell trace {outcome.found['import_id']}"
    if str(file) == "-":
        return "import all of it once more: what was put in is not learned from, and cleared away"
    return "go on with the same command"


def _name(refused: importing.RefusedLine) -> None:
    typer.echo(f"line {refused.line}: {printable(refused.reason)}", err=True)


def _leave_to_json(_: importing.RefusedLine) -> None:
    """They come in one piece, with all else."""


def _show(outcome: importing.Outcome, as_json: bool) -> None:
    if as_json:
        print_json(outcome.as_json())
        return
    found = outcome.found
    if not found:
        return
    if (more := found["refused"] - len(outcome.refused)) > 0:
        typer.echo(
            f"not named here: bad lines that an earlier run saw, or behind the first thousand: {more:,}",
            err=True,
        )
    typer.echo(
        f"{found['accepted']} accepted, {found['known']} known before, {found['skipped']} skipped,"
        f" {found['refused']} refused"
    )
    if found["state"] == "uploading":
        # Its workflow is there once all of it is.
        typer.echo("the import is uploading", err=True)
    elif found["state"] != "done":
        typer.echo(f"the import is {found['state']}: doorbell trace {found['import_id']}", err=True)


def _key_of(path: Path, form: Format) -> str:
    """By which the file's import is found again; of what is no file there is none."""
    if not path.is_file():
        return f"stream:{uuid4()}"
    with path.open("rb") as file:
        return f"{form.value}:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@contextmanager
def bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """What is told how far an import is; a bar shows it."""
    text = "{task.description} {task.completed:,.0f} of {task.fields[staged]} logins"
    with Progress(text, BarColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("put in", total=None, staged="?")

        def show(found: dict[str, Any]) -> None:
            if found["state"] == "uploading":
                progress.update(task, completed=found["staged"])
                return
            learned = found["accepted"] + found["known"] - found["unlearned"]
            staged = f"{found['staged']:,}"
            progress.update(
                task,
                description="applied",
                completed=learned,
                total=found["staged"],
                staged=staged,
            )

        yield show


@contextmanager
def reading(path: Path) -> Iterator[Iterator[str]]:
    """A file's lines.

    What is not UTF-8 spoils its own line alone: the gateway refuses the stray halves.
    """
    try:
        raw = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        file = TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error

    def lines() -> Iterator[str]:
        while line := file.readline(_PART_CHARACTERS):
            yield line
            part = line
            # Of one that is too long the beginning is enough: it is refused, and the rest is no line.
            while part and part[-1] not in "\r\n":
                part = file.readline(_PART_CHARACTERS)

    with file:
        try:
            yield lines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
