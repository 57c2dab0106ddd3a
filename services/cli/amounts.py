"""Amounts as operators write and read them: ages, rates, counts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import typer

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HIGHEST_RATE = 1_000_000
_LONGEST_AGE_SECONDS = 100 * 365 * 86400.0
"""Before that there was nothing, and dates come to their end."""


def seconds_of(age: str) -> float:
    """An age such as 90s, 10m, 1h or 2d in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _AGE.fullmatch(age)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else math.inf
    if seconds > _LONGEST_AGE_SECONDS:
        raise typer.BadParameter(f"{age!r} is no age: write 90s, 10m, 1h or 2d")
    return seconds


def as_rate(rate: float) -> float:
    """How many a second; infinity and what is no number are floats too.

    Raises:
        typer.BadParameter: it is none that can be kept to.
    """
    if not 1 <= rate <= _HIGHEST_RATE:
        raise typer.BadParameter(f"{rate} is no rate: write a number from 1 to {_HIGHEST_RATE:,}")
    return rate


def counted(count: int, one: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def summed(tasks: Sequence[str | None]) -> str:
    """Tasks with how often each occurs, the commonest first."""
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task or "unknown task"] = counts.get(task or "unknown task", 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{task} {count:,}" for task, count in ordered)
