"""A benchmark's result as text for people, or as raw numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tests.bench.result import Latency, Result, Side, Steady, Throughput, median, percentile

_LEAST_SHOWN = 0.005
MIB = 1024 * 1024


def as_json(result: Result) -> str:
    """Every number that was measured."""
    return json.dumps(
        asdict(result)
        | {
            "logins_per_second": {side.name: side.logins_per_second for side in result.sides},
            "ratios": {side.name: result.ratio(side) for side in result.sides[1:]},
            "is_complete": result.is_complete,
        },
        indent=2,
    )


def as_text(result: Result) -> str:
    """The tables, with what they say about each other's conditions."""
    parts = [_machine(result)]
    if result.latency:
        parts.append(_latency(result.latency))
    if result.steady:
        parts.append(_steady(result.steady))
    measured = [side for side in result.sides if side.runs]
    parts.append(_throughput(result, measured))
    if any(run.traffic for side in measured for run in side.runs):
        parts.append(_traffic(measured))
    parts += [_cpu(side) for side in measured]
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
    conditions = (
        f"{result.cores} cores, load average {result.load_at_start:.1f} at the start;"
        " broker, database, outlier API, mail sink and load generator on the same cores"
    )
    lines = [conditions]
    lines += [f"{side.name + ':':<10}{side.says}" for side in result.sides]
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
            f"  {name:<45} p50 {1000 * percentile(values, 50):6.1f} ms"
            f"   p99 {1000 * percentile(values, 99):6.1f} ms   of {len(values)}"
        )
    lines.append(f"  {_others(latency.cpu.others, latency.cpu.seconds)}")
    return "\n".join(lines)


def _steady(steady: Sequence[Steady]) -> str:
    lines = ["Logins that come in evenly, by parts of the peak: from accepted to"]
    for each in steady:
        times = "   ".join(
            f"{name} p50 {1000 * percentile(values, 50):6.0f} ms  p99 {1000 * percentile(values, 99):6.0f} ms"
            if values
            else f"{name} none"
            for name, values in (("verdict", each.verdicts), ("notice", each.notices))
        )
        lines.append(
            f"  {each.percent_of_peak:>3}%, {each.rate:5.1f} a second: {times}"
            f"   {1000 * each.cpu.total / max(1, each.sent):5.1f} ms CPU a login"
            f"   {len(each.verdicts)} of {each.sent} judged"
        )
    return "\n".join(lines)


def _throughput(result: Result, sides: Sequence[Side]) -> str:
    lines = ["First login sent to last verdict stored"]
    for side in sides:
        for number, run in enumerate(side.runs, 1):
            note = "" if run.is_complete else f"   STOPPED by the deadline, {run.sent} were sent"
            lines.append(
                f"  {side.name:<9} round {number}   {run.stored:>6,} logins in {run.seconds:6.1f} s"
                f"   {run.logins_per_second:7.1f} logins/s"
                f"   {run.cpu_milliseconds:6.1f} ms CPU a login"
                f"   {_others(run.cpu.others, run.cpu.seconds)}{note}"
            )
    lines += [
        f"  {ratio:5.2f} times {side.name} ({result.sides[0].name} over it, the rounds' median)"
        for side in sides[1:]
        if (ratio := result.ratio(side))
    ]
    return "\n".join(lines)


def _others(seconds: float, over: float) -> str:
    return f"other processes of the machine meanwhile used {seconds / max(over, 0.001):.2f} cores"


def _traffic(sides: Sequence[Side]) -> str:
    lines = ["Through the broker for each login, its events included (medians)"]
    for side in sides:
        columns = [run.traffic.for_each(run.stored) for run in side.runs if run.traffic]
        if columns:
            each = {name: median([column[name] for column in columns]) for name in columns[0]}
            lines.append(
                f"  {side.name:<9} {each['published']:5.1f} messages published"
                f"   {each['confirmed']:5.1f} confirmed   {each['delivered']:5.1f} delivered"
                f"   {each['acked']:5.1f} acked"
                f"   {each['bytes_in'] / 1024:6.1f} KiB in   {each['bytes_out'] / 1024:6.1f} KiB out"
            )
    return "\n".join(lines)


def _cpu(side: Side) -> str:
    names = {process for run in side.runs for process in run.cpu_per_login}
    columns = {
        process: [run.cpu_per_login.get(process, 0.0) for run in side.runs] for process in names
    }
    memory = _memory(side.runs)
    ordered = sorted(columns.items(), key=lambda item: -median(item[1]))
    lines = [f"{side.name}: CPU milliseconds a login by process, with its children; MiB at the end"]
    lines += [
        f"  {process:<18}"
        + "".join(f"{value:9.2f}" for value in values)
        + f"{memory.get(process, 0) / MIB:9.0f} MiB"
        for process, values in ordered
        if max(values) >= _LEAST_SHOWN
    ]
    totals = [run.cpu_milliseconds for run in side.runs]
    lines.append(f"  {'all':<18}" + "".join(f"{value:9.2f}" for value in totals))
    return "\n".join(lines)


def _memory(runs: Sequence[Throughput]) -> Mapping[str, int]:
    return runs[-1].cpu.memory
