"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask. Needed where nobody can be asked.")
]
