"""CPU time by process from /proc: a process counts with its children, ended ones included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a stretch of time cost.

    seconds: its length. by_process: CPU seconds. others: CPU seconds that processes
    outside the measurement used meanwhile. load: the load average when it began.
    """

    seconds: float
    by_process: Mapping[str, float]
    others: float
    load: float

    @property
    def total(self) -> float:
        return sum(self.by_process.values())


class Meter:
    """Measures named processes from its creation on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._load = os.getloadavg()[0]
        self._began = time.monotonic()
        self._busy = _machine_busy()
        self._before = cpu_seconds(self._pids)

    def read(self) -> Consumption:
        """What has been used so far."""
        after = cpu_seconds(self._pids)
        used = {name: max(0.0, after[name] - self._before[name]) for name in self._pids}
        others = max(0.0, _machine_busy() - self._busy - sum(used.values()))
        return Consumption(time.monotonic() - self._began, used, others, self._load)


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of processes, each with its descendants as far as they are not named themselves.

    0 for one that is gone.
    """
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for pid, parent, used in _processes():
        ticks[pid] = used
        children.setdefault(parent, []).append(pid)

    named = set(pids.values())

    def total(pid: int) -> int:
        below = (child for child in children.get(pid, ()) if child not in named)
        return ticks.get(pid, 0) + sum(total(child) for child in below)

    return {name: total(pid) / _TICKS for name, pid in pids.items()}


def _processes() -> Iterator[tuple[int, int, int]]:
    """Each process's pid, its parent's, and the ticks it and its ended children used."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            stat = (directory / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        fields = stat.rpartition(")")[2].split()
        yield int(directory.name), int(fields[1]), sum(int(field) for field in fields[11:15])


def _machine_busy() -> float:
    """CPU seconds that the whole machine has worked since it started."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _, _, interrupts, soft, *_ = (int(part) for part in first.split()[1:])
    return (user + nice + system + interrupts + soft) / _TICKS
