"""A benchmark's result as a picture."""

from __future__ import annotations

from pathlib import Path

from tests.bench.result import Result


def draw(result: Result, path: Path) -> None:
    """Logins a second and CPU of each side, by rounds' medians, into a PNG."""
    # Only who draws waits for it to be imported.
    from matplotlib.figure import Figure

    sides = [side for side in result.sides if side.runs]
    names = [side.name for side in sides]
    figure = Figure(figsize=(9, 1.5 + 0.5 * len(sides)), layout="constrained")
    rates, costs = figure.subplots(1, 2, sharey=True)
    for axes, values, label in (
        (rates, [side.logins_per_second or 0.0 for side in sides], "logins a second"),
        (costs, [side.cpu_milliseconds or 0.0 for side in sides], "ms of CPU a login"),
    ):
        bars = axes.barh(names, values)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.set_xlabel(label)
        axes.margins(x=0.15)
    rates.invert_yaxis()
    figure.suptitle(f"The same workflow, {result.cores} cores for everything")
    figure.savefig(path, dpi=110, metadata={"Software": None})
