"""CPU time and memory by process from /proc: a process counts with its children, of CPU time ended ones included."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a stretch of time cost.

    seconds: its length. by_process: CPU seconds. others: CPU seconds that processes
    outside the measurement used meanwhile. load: the load average when it began.
    memory: resident bytes by process at the end, what children share counted once.
    """

    seconds: float
    by_process: Mapping[str, float]
    others: float
    load: float
    memory: Mapping[str, int] = field(default_factory=dict)

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
        seconds = time.monotonic() - self._began
        return Consumption(seconds, used, others, self._load, resident_bytes(self._pids))


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of processes, each with its descendants as far as they are not named themselves.

    0 for one that is gone, or whose pid is 0, as supervisord says of what is stopped.
    """
    ticks = {pid: used for pid, _, used in _processes()}
    return {
        name: sum(ticks.get(pid, 0) for pid in members) / _TICKS
        for name, members in _families(pids).items()
    }


def resident_bytes(pids: Mapping[str, int]) -> dict[str, int]:
    """Memory in use, as `cpu_seconds`: proportional set sizes, so that what processes share counts once in all."""
    return {
        name: sum(_resident(pid) for pid in members) for name, members in _families(pids).items()
    }


def _families(pids: Mapping[str, int]) -> dict[str, list[int]]:
    """Each process with its descendants as far as they are not named themselves."""
    children: dict[int, list[int]] = {}
    for pid, parent, _ in _processes():
        children.setdefault(parent, []).append(pid)
    named = set(pids.values())

    def family(pid: int) -> list[int]:
        below = (child for child in children.get(pid, ()) if child not in named)
        return [pid, *(member for child in below for member in family(child))]

    return {name: family(pid) if pid else [] for name, pid in pids.items()}


def _resident(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0  # it ended meanwhile, or is the kernel's
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


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
