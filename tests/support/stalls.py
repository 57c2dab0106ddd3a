"""What a machine says of itself when something took too long on it."""

from __future__ import annotations

from pathlib import Path

_PRESSURE = Path("/proc/pressure")
"""Since when, and how much, tasks have waited for CPU, memory and disk: Linux's PSI."""


def describe_pressure() -> str:
    """How long tasks waited for CPU, memory and disk within the last minutes; empty where Linux does not tell."""
    lines = []
    for resource in ("cpu", "io", "memory"):
        try:
            lines += [
                f"{resource}: {line}" for line in (_PRESSURE / resource).read_text().splitlines()
            ]
        except OSError:
            continue
    return "\n".join(lines)
