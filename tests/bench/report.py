"""A benchmark's result as text for people, or as raw numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.bench.doorbell import BATCH
from tests.bench.result import Latency, Result, Throughput, median, percentile


def as_json(result: Result) -> str:
    """Every number that was measured."""
    return json.dumps(
        asdict(result)
        | {
            "doorbell_logins_per_second": [run.logins_per_second for run in result.doorbell],
            "plain_logins_per_second": [run.logins_per_second for run in result.plain],
            "ratio": result.ratio,
            "is_complete": result.is_complete,
        },
        indent=2,
    )


def as_text(result: Result) -> str:
    """The tables, with what they say about each other's conditions."""
    parts = [_machine(result)]
    if result.latency:
        parts.append(_latency(result.latency))
    parts.append(_throughput(result))
    for name, runs in (("Doorbell", result.doorbell), ("Plain", result.plain)):
        if runs:
            parts.append(_cpu(name, runs))
    return "\n\n".join(parts)


def warning(load: float, cores: int) -> str | None:
    """What to say when the machine is busy with other things before anything was started."""
    if load <= cores / 4:
        return None
    return (
        f"warning: the load average is {load:.1f} on {cores} cores before anything was started:"
        " what is measured now is what is left over"
    )


def _machine(result: Result) -> str:
    lines = [
        (
            f"{result.cores} cores, load average {result.load_at_start:.1f} at the start;"
            " broker, database, outlier API, mail sink and load generator on the same cores"
        ),
        (
            f"Doorbell: {result.doorbell_workers} worker processes, a gateway, beat, Flower;"
            f" one client posts {BATCH} logins at a time to /v1/logins:batch"
        ),
        (
            f"plain:    one worker as in Celery's documentation, {result.plain_workers} child processes,"
            " default settings, Redis backend; one producer calls .delay()"
        ),
    ]
    if text := warning(result.load_at_start, result.cores):
        lines.append(text)
    return "\n".join(lines)


def _latency(latency: Latency) -> str:
    lines = ["One login at a time on the idle cluster"]
    if not latency.client:
        return f"{lines[0]}: none got its verdict in time"
    for name, values in (
        ("accepted to verdict stored (database clock)", latency.database),
        ("POST to verdict readable (client)", latency.client),
    ):
        lines.append(
            f"  {name:<45} p50 {1000 * median(values):6.1f} ms"
            f"   p99 {1000 * percentile(values, 99):6.1f} ms   of {len(values)}"
        )
    lines.append(f"  {_others(latency.cpu.others, latency.cpu.seconds)}")
    return "\n".join(lines)


def _throughput(result: Result) -> str:
    lines = ["First login sent to last verdict stored"]
    for name, runs in (("Doorbell", result.doorbell), ("plain", result.plain)):
        for number, run in enumerate(runs, 1):
            note = "" if run.is_complete else f"   STOPPED by the deadline, {run.sent} were sent"
            lines.append(
                f"  {name:<9} round {number}   {run.stored:>6,} logins in {run.seconds:6.1f} s"
                f"   {run.logins_per_second:7.1f} logins/s"
                f"   {1000 * run.cpu.total / max(1, run.stored):6.1f} ms CPU a login"
                f"   {_others(run.cpu.others, run.cpu.seconds)}{note}"
            )
    if result.ratio:
        lines.append(f"  ratio     {result.ratio:.2f} (Doorbell over plain, medians)")
    return "\n".join(lines)


def _others(seconds: float, over: float) -> str:
    return f"other processes of the machine meanwhile used {seconds / max(over, 0.001):.2f} cores"


def _cpu(name: str, runs: Sequence[Throughput]) -> str:
    names = {process for run in runs for process in run.cpu_per_login}
    columns = {process: [run.cpu_per_login.get(process, 0.0) for run in runs] for process in names}
    ordered = sorted(columns.items(), key=lambda item: -median(item[1]))
    lines = [f"{name}: CPU milliseconds a login by process, with its children"]
    lines += [
        f"  {process:<18}" + "".join(f"{value:9.2f}" for value in values)
        for process, values in ordered
        if max(values) >= 0.005
    ]
    totals: list[Any] = [1000 * run.cpu.total / max(1, run.stored) for run in runs]
    lines.append(f"  {'all':<18}" + "".join(f"{value:9.2f}" for value in totals))
    return "\n".join(lines)
