"""Keeps the processes of a rig running as systemd would, and notes each end and disturbance with its time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fleet import ROOT, Fleet

RESTART_SECONDS = 0.5
"""Between a process's end and its next start: systemd's default is 0.1, a container engine's more."""

_LOOK_SECONDS = 0.05
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something was done to a part of the system. `at` is the time just before, in seconds since 1970."""

    at: float
    what: str
    whom: str


@dataclass(frozen=True, slots=True)
class End:
    """A process ended by itself, or by a failpoint, between `after` and `at`: nobody here asked it to."""

    after: float
    at: float
    name: str
    status: int


@dataclass(frozen=True, slots=True)
class Program:
    """What a process is started with, from the checkout `code`; all may differ from one process to the next."""

    module: str = "services.worker"
    arguments: tuple[str, ...] = ()
    user: str | None = None
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    code: Path = ROOT


class Supervisor:
    """Starts processes, and starts each again when it ended, unless it is held.

    Safe for several threads. Every method that disturbs a process notes the
    disturbance before it acts; `ends` are those that nobody here caused.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._lock = threading.RLock()
        self._programs: dict[str, Program] = {}
        self._held: set[str] = set()
        self._asked: set[str] = set()
        self._due: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor")
        self.disturbances: list[Disturbance] = []
        self.ends: list[End] = []

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Start nothing any more; the processes are the fleet's to end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, name: str, program: Program) -> None:
        """Run a process from now on; a name that runs already gets `program` at its next start."""
        with self._lock:
            self._programs[name] = program
            self._due.setdefault(name, 0.0)

    def program(self, name: str) -> Program:
        return self._programs[name]

    @property
    def names(self) -> list[str]:
        return sorted(self._programs)

    def of_pool(self, pool: str) -> list[str]:
        """The processes of one pool: `db_writes`, `db_writes.2`, ..."""
        return [name for name in self.names if name.partition(".")[0] == pool]

    def pid(self, name: str) -> int | None:
        """The running process's id; None between an end and the next start."""
        with self._lock:
            process = self._fleet.processes.get(name)
            return process.pid if process is not None and process.poll() is None else None

    def note(self, what: str, whom: str) -> Disturbance:
        """Note a disturbance that somebody is about to cause."""
        noted = Disturbance(time.time(), what, whom)
        with self._lock:
            self.disturbances.append(noted)
        return noted

    def kill(self, name: str) -> Disturbance | None:
        """SIGKILL; None when the process was not running at this moment."""
        return self._end(name, signal.SIGKILL, "kill")

    def stop(self, *names: str) -> None:
        """SIGTERM to all at once, as a deploy does, and wait for their ends."""
        with self._lock:
            running = [self._fleet.processes.get(name) for name in names]
            for name in names:
                self._end(name, signal.SIGTERM, "stop")
        for process in running:
            if process is not None:
                process.wait(_STOP_SECONDS)

    def suspend(self, name: str) -> Disturbance | None:
        """SIGSTOP: neither dead nor alive, until `resume`."""
        with self._lock:
            if (pid := self.pid(name)) is None:
                return None
            noted = self.note("suspend", name)
            os.kill(pid, signal.SIGSTOP)
            return noted

    def resume(self, name: str) -> None:
        with self._lock:
            if (pid := self.pid(name)) is not None:
                self.note("resume", name)
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def held(self, *names: str) -> Iterator[None]:
        """What ends of these is started again only at the end of the block."""
        with self._lock:
            self._held.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._held.difference_update(names)

    def _end(self, name: str, how: signal.Signals, what: str) -> Disturbance | None:
        with self._lock:
            if (pid := self.pid(name)) is None:
                return None
            noted = self.note(what, name)
            self._asked.add(name)
            os.kill(pid, how)
            return noted

    def _watch(self) -> None:
        looked = time.time()
        while not self._over.wait(_LOOK_SECONDS):
            with self._lock:
                before, looked = looked, time.time()
                for name, program in list(self._programs.items()):
                    self._look(name, program, before)

    def _look(self, name: str, program: Program, before: float) -> None:
        process = self._fleet.processes.get(name)
        if process is not None and process.poll() is not None:
            del self._fleet.processes[name]
            self._due[name] = time.monotonic() + RESTART_SECONDS
            if name not in self._asked:
                self.ends.append(End(before, time.time(), name, process.returncode))
            self._asked.discard(name)
        elif process is None and name not in self._held and time.monotonic() >= self._due[name]:
            self._fleet.start(
                name,
                program.module,
                program.arguments,
                program.user,
                program.prefix,
                program.code,
                **program.environment,
            )
