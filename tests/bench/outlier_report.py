"""What the outlier API's load test measured, as a table for people or as raw numbers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tests.bench.outlier_result import API, Result, Series
from tests.bench.own import LOAD_GENERATOR
from tests.bench.report import MIB, warning

_HEADS = (
    *("at once", "answers", "answers/s", "logins/s"),
    *("p50 ms", "p99 ms", "slowest ms", "CPU ms", "client's", "others"),
)

_LEGEND = (
    "CPU ms: the API's for each login, that of forgetting with the scores beside it; client's: of asking."
    " Others: cores that the rest of the machine used meanwhile."
)


def as_json(result: Result) -> str:
    """Every number that was measured, and what the table computes of it."""
    return json.dumps(
        asdict(result)
        | {
            "figures": [_figures(series) for series in (*result.measured, *result.by_history)],
            "slower_meanwhile": result.slower_meanwhile,
        },
        indent=2,
    )


def as_text(result: Result) -> str:
    """The table, and how it is to be read."""
    conditions = (
        f"{result.cores} cores, load average {result.load_at_start:.1f} at the start;"
        " the outlier API, which is one process, and the load generator on the same cores"
    )
    busy = warning(result.load_at_start, result.cores)
    rows = [(_name(series), series) for series in result.measured]
    rows += [(f"score, {series.history:,} logins known", series) for series in result.by_history]
    return "\n".join(
        [
            *([conditions, busy] if busy else [conditions]),
            f"{'':<30}" + "".join(f"{head:>11}" for head in _HEADS),
            *(_row(name, series) for name, series in rows),
            _LEGEND,
            _slower(result),
            _left(result),
        ]
    )


def _name(series: Series) -> str:
    if series.logins > 1:
        return f"{series.name} of {series.logins}"
    return series.name


def _row(name: str, series: Series) -> str:
    rate = series.answers_per_second
    cells = [
        f"{series.at_once}",
        f"{len(series.answers):,}",
        f"{rate:.1f}",
        f"{rate * series.logins:.1f}" if series.logins else "",
        f"{series.milliseconds(50):.2f}",
        f"{series.milliseconds(99):.2f}",
        f"{series.milliseconds(100):.2f}",
        *(_cpu(series, process) for process in (API, LOAD_GENERATOR)),
        f"{series.others:.2f}",
    ]
    return f"{name:<30}" + "".join(f"{cell:>11}" for cell in cells)


def _cpu(series: Series, process: str) -> str:
    used = series.cpu_milliseconds(process)
    return "" if used is None else f"{used:.2f}"


def _slower(result: Result) -> str:
    times = " and ".join(
        f"{factor:.2f} times as long ({percentile})"
        for percentile, factor in result.slower_meanwhile.items()
    )
    return (
        f"While {result.forgets.answers_per_second:.0f} users a second are forgotten, a score takes"
        f" {times} as with as many clients alone."
    )


def _left(result: Result) -> str:
    return (
        f"The API knew {result.singles[0].history:,} logins at the first row. At the end it knew"
        f" {result.history:,}, and had {result.memory / MIB:.0f} MiB of memory"
        f" and {result.storage / MIB:.0f} MiB of files."
    )


def _figures(series: Series) -> dict[str, Any]:
    return {
        "name": _name(series),
        "at_once": series.at_once,
        "history": series.history,
        "answers_per_second": series.answers_per_second,
        "p50_milliseconds": series.milliseconds(50),
        "p99_milliseconds": series.milliseconds(99),
        "cpu_milliseconds": series.cpu_milliseconds(API),
    }
