"""Shows a replay while it goes on: a live bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.local import summary

_LINE_SECONDS = 5.0


class ProgressBar:
    """How many of `total` logins have ended."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("replaying sample logins"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(),
            )
            self._task = self._bar.add_task("replay", total=total, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        else:
            print(f"replaying {self._total:,} sample logins")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, progress: summary.Progress) -> None:
        """Show how far it is."""
        note = f"{progress.accepted - progress.ended} under way"
        if progress.failed or progress.dead:
            note += f", {progress.failed} failed, {progress.dead} dead"
        if self._bar:
            self._bar.update(self._task, completed=progress.ended, note=note)
        elif time.monotonic() - self._printed >= _LINE_SECONDS:
            self._printed = time.monotonic()
            print(
                f"  {progress.ended:,} of {self._total:,} ended, {note}, {self._printed - self._began:.0f} s",
                flush=True,
            )
