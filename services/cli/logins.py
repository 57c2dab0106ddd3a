"""`doorbell logins`: logins from before Doorbell watched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from services.cli import importing
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED
from services.cli.keys import text_of
from services.cli.login_files import LOGIN_BYTES, Format, read_logins
from services.cli.output import AsJson, print_json
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
    from_line: Annotated[int, typer.Option(min=1, help="Begin there, as it said.")] = 1,
    ahead: Annotated[
        int,
        typer.Option(
            min=importing.BATCH, help="No more than so many wait to be worked on, for the others."
        ),
    ] = 2 * importing.BATCH,
    gateway: Annotated[str | None, typer.Option(help="Such as https://doorbell.example.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The file with the API key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have Doorbell learn from logins of before: devices become known, nobody is told, nothing is done.

    One JSON object a line, or CSV with the names of its columns first. A bad line
    stops no other, failed logins are skipped, and importing twice is harmless.
    """
    local = None if gateway and key_file else find()
    gateway = gateway or (local.gateway if local else None)
    api_key = text_of(key_file) if key_file else (local.api_key if local else None)
    if not gateway or not api_key:
        raise ConfigurationError("say where to: --gateway URL and --key-file FILE")
    importer = importing.Importer(gateway, api_key, ahead)
    outcome = importer.outcome
    try:
        with reading(file) as (lines, on_batch):
            found = read_logins(lines, form)
            importer.run((each for each in found if each.number >= from_line), on_batch)
    except (KeyboardInterrupt, DoorbellError):
        _show(outcome, as_json)
        if outcome.line:
            typer.echo(f"doorbell: go on with --from-line {outcome.line + 1}", err=True)
        raise
    _show(outcome, as_json)
    raise typer.Exit(REFUSED if outcome.refused else OK)


def _show(outcome: importing.Import, as_json: bool) -> None:
    if as_json:
        print_json(outcome.as_json())
        return
    for each in outcome.refused:
        typer.echo(f"line {each.line}: {each.reason}", err=True)
    typer.echo(
        f"{outcome.accepted} accepted, {outcome.known} known before, {outcome.skipped} skipped,"
        f" {len(outcome.refused)} refused"
    )


@contextmanager
def reading(path: Path) -> Iterator[tuple[Iterator[str], Callable[[int], None]]]:
    """A file's lines, and what is told how many more logins were answered; a bar shows both.

    What is not UTF-8 spoils its own line alone: the gateway refuses the stray halves.
    """
    try:
        raw = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        file = TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    columns = "{task.percentage:>3.0f} % " if size else ""
    with (
        file,
        Progress(
            columns + "{task.fields[logins]} logins", console=Console(stderr=True), transient=True
        ) as progress,
    ):
        task = progress.add_task("", total=size, logins=0)
        answered = 0

        def read() -> str:
            part = file.readline(_PART_CHARACTERS)
            progress.advance(task, len(part.encode(errors="surrogateescape")))
            return part

        def lines() -> Iterator[str]:
            while line := read():
                yield line
                part = line
                # Of one that is too long the beginning is enough: it is refused, and the rest is no line.
                while part and part[-1] not in "\r\n":
                    part = read()

        def on_batch(count: int) -> None:
            nonlocal answered
            answered += count
            progress.update(task, logins=answered)

        try:
            yield lines(), on_batch
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
