"""`python -m tests.bench.sustained`: the door under load for minutes, then flooded: what grows, and is any lost?"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

from tests.bench.__main__ import private_cluster
from tests.bench.command import end_on_sigterm, say
from tests.bench.cpu import Meter
from tests.bench.doorbell import BATCH, Doorbell
from tests.bench.load import logins
from tests.bench.own import own_pids
from tests.bench.report import MIB
from tests.bench.result import percentile
from tests.bench.senders import Senders

_WINDOWS = 5
_WARM_UP = 200
_PEAK_LOGINS = 1_000
_PEAK_SECONDS = 120.0
_SENDERS = 16
_FLOOD_SENDERS = 3
_FLOOD_BATCH = 200
_DRAIN_SECONDS = 1_800.0
_PART = 0.8
"""Of the peak, where no rate is asked for."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a phase. memory: MiB of each process at its end; waiting: logins without their end then."""

    accepted_per_second: float
    waiting: int
    cores: float
    memory: dict[str, float]


@dataclass(slots=True)
class Phase:
    """Logins that came in one way, for some time. verdicts, notices: seconds since they were accepted."""

    name: str
    asked_per_second: float | None
    accepted: int = 0
    seconds: float = 0.0
    windows: list[Window] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)
    notices: list[float] = field(default_factory=list)
    drained_after: float | None = None
    lost: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; 1 when a login was lost."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    phases = []
    with private_cluster({}) as cluster, closing(Doorbell(cluster)) as doorbell:
        doorbell.throughput(logins(_WARM_UP, "warm"), _PEAK_SECONDS)
        for name, together, senders, rate in (
            ("single POSTs", 1, _SENDERS, options.singles),
            ("by batch", BATCH, 1, options.batches),
        )[: None if options.seconds else 0]:
            wanted = rate or _PART * _peak(doorbell, name, together, senders)
            say(f"{name}: {wanted:.0f} logins a second for {options.seconds} s")
            made = Senders(doorbell, senders, together, wanted)
            phases.append(_measure(doorbell, Phase(name, wanted), made, options.seconds))
            print(_as_text(phases[-1]), flush=True)
        if options.flood:
            say(f"as many as the door takes, for {options.flood} s")
            made = Senders(doorbell, _FLOOD_SENDERS, _FLOOD_BATCH, None)
            phases.append(_measure(doorbell, Phase("flood", None), made, options.flood))
            print(_as_text(phases[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(phase) for phase in phases], indent=2) + "\n")
    return 1 if any(phase.lost for phase in phases) else 0


def _peak(doorbell: Doorbell, name: str, together: int, number: int) -> float:
    """Logins a second, from the first one sent to the last one's end."""
    say(f"{name}: as many as go through")
    senders = Senders(doorbell, number, together, None)
    began = time.monotonic()
    senders.start()
    senders.wait_for(_PEAK_LOGINS)
    senders.stop()
    doorbell.drain(_PEAK_SECONDS)
    return len(senders.workflows) / (time.monotonic() - began)


def _measure(doorbell: Doorbell, phase: Phase, senders: Senders, seconds: int) -> Phase:
    senders.start()
    began = time.monotonic()
    for _ in range(_WINDOWS):
        before, meter = len(senders.workflows), Meter(doorbell.pids() | own_pids())
        time.sleep(seconds / _WINDOWS)
        cpu = meter.read()
        phase.windows.append(
            Window(
                (len(senders.workflows) - before) / cpu.seconds,
                doorbell.unfinished(),
                cpu.total / cpu.seconds,
                {name: size / MIB for name, size in cpu.memory.items()},
            )
        )
    senders.stop()
    phase.seconds = time.monotonic() - began
    phase.accepted = len(senders.workflows)
    ended = time.monotonic()
    if doorbell.drain(_DRAIN_SECONDS):
        phase.drained_after = time.monotonic() - ended
    phase.verdicts, phase.notices = doorbell.latencies(senders.workflows)
    phase.lost = phase.accepted - doorbell.ended_well(senders.workflows)
    return phase


def _as_text(phase: Phase) -> str:
    lines = [
        f"{phase.name}: {phase.accepted:,} logins accepted in {phase.seconds:.0f} s,"
        f" {phase.accepted / phase.seconds:.1f} a second"
        + (f" of {phase.asked_per_second:.1f} asked for" if phase.asked_per_second else ""),
        f"  {phase.lost:,} lost; "
        + (
            f"all had ended {phase.drained_after:.1f} s after the last"
            if phase.drained_after is not None
            else "NOT all have ended in time"
        ),
    ]
    for name, values in (("verdict", phase.verdicts), ("notice", phase.notices)):
        if values:
            times = f"p50 {percentile(values, 50):.2f} s  p99 {percentile(values, 99):.2f} s"
            lines.append(f"  from accepted to {name}: {times}, of {len(values):,}")
    for number, window in zip(count(1), phase.windows):
        largest = sorted(window.memory.items(), key=lambda item: -item[1])
        lines.append(
            f"  part {number} of {_WINDOWS}: {window.accepted_per_second:7.1f} a second,"
            f" {window.waiting:6,} under way at its end, {window.cores:.2f} cores;  MiB: "
            + ", ".join(f"{name} {size:.0f}" for name, size in largest[:8])
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sustained", description=__doc__)
    add = parser.add_argument
    add(
        "--seconds",
        type=int,
        default=300,
        help="of each of the first two phases; 0: only the flood",
    )
    add("--singles", type=float, help="logins a second by single POSTs (default: 80%% of the peak)")
    add("--batches", type=float, help="logins a second by :batch (default: 80%% of the peak)")
    add("--flood", type=int, default=60, metavar="SECONDS", help="0: none")
    add("--json", type=Path, metavar="FILE", help="write all numbers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
