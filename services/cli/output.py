"""How the command prints: for people as tables and trees, for scripts as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 400

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def console() -> Console:
    """Standard output; plain and of one line an item when it is not a terminal."""
    from rich.console import Console  # needed when there is something to show

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or clear its screen."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As text: what stands in square brackets is somebody's name, and no markup of ours.
        table.add_row(*[Text("" if cell is None else printable(str(cell))) for cell in row])
    console().print(table)
