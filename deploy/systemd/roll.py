#!/usr/bin/python3
"""Starts, restarts, stops or checks one of Doorbell's units, so that nobody who calls notices: roll.py ACTION UNIT.

A worker finishes what it has before it stops. A gateway is first taken out of its host's HAProxy, and put back when it
is ready. Prints one line that begins with `changed` or `unchanged`; exit code 1, with the reason, when the unit is
not well afterwards. The standard library alone: it has to run before and without any release's environment.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CURRENT = Path("/opt/doorbell/current")
RUN = Path("/run")
HAPROXY = Path("/run/haproxy/admin.sock")
GATEWAY_PORT = 8000

# Where a role tells that it is well; a worker and beat have their heartbeat instead.
_PAGES = {
    "gateway": (GATEWAY_PORT, "/readyz"),
    "outlier-api": (8010, "/healthz"),
    "flower": (5555, "/healthcheck"),
    "flower-viewers": (5556, "/healthcheck"),
}

_PREFIX = "--url_prefix="

# What a heartbeat calls work; an operator's drain outlives a restart, and is not ours to judge.
_AT_WORK = ("consuming", "draining", "leading", "standing by")

_START_SECONDS = 120.0
# A process that connects and then fails lives for a moment: it has to stay.
_SETTLE_SECONDS = 3.0
# HAProxy's sessions end with their answers, for which the gateway itself gives them 20 seconds.
_SESSION_SECONDS = 20.0
# Several of HAProxy's checks, whichever their interval.
_NOTICE_SECONDS = 15.0
_CALL_SECONDS = 4.0


class Unwell(Exception):
    """The unit is not as it should be; the message says what it lacks."""


class Unit:
    """One of Doorbell's systemd units on this host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.role = name.removeprefix("doorbell-")

    def systemctl(self, action: str) -> None:
        """Have systemd do something and wait until it is done."""
        done = subprocess.run(
            ["systemctl", action, self.name], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Unwell(f"systemctl {action} failed: {done.stderr.strip()}")

    def process(self) -> int:
        """The main process.

        Raises:
            Unwell: there is none that has become its role.
        """
        shown = self.show()
        if shown["ActiveState"] != "active":
            raise Unwell(f"is {shown['ActiveState']}")
        return int(shown["MainPID"])

    def show(self) -> dict[str, str]:
        """What systemd knows of it."""
        command = ["systemctl", "show", self.name, "--property=ActiveState,MainPID,Result"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def release(self) -> str:
        """The release that its process runs, which is not the current one while a new one is being rolled out."""
        parts = Path(self.command()[0]).parts
        if "releases" not in parts:
            raise Unwell("has not become its role yet")
        return parts[parts.index("releases") + 1]

    def command(self) -> list[str]:
        """What its process was started with."""
        try:
            words = Path(f"/proc/{self.process()}/cmdline").read_bytes().split(b"\0")
        except OSError as error:
            raise Unwell("its process has just ended") from error
        return [os.fsdecode(word) for word in words]

    def check(self) -> None:
        """Make sure that it runs the current release and does its work.

        Raises:
            Unwell: it does not.
        """
        current = CURRENT.resolve().name
        if self.release() != current:
            raise Unwell(f"runs {self.release()}, not {current}")
        if self.role in _PAGES:
            port, page = _PAGES[self.role]
            # Flower's pages may stand under a path of the operator's choice.
            given = [word for word in self.command() if word.startswith(_PREFIX)]
            _get(port, "".join(given).removeprefix(_PREFIX) + page)
        else:
            self._hear()

    def await_well(self) -> None:
        """Wait until it is well, and stays so for a moment in one and the same process."""
        deadline = time.monotonic() + _START_SECONDS
        since, process = time.monotonic(), 0
        while True:
            try:
                self.check()
                if self.process() != process:
                    since, process = time.monotonic(), self.process()
                if time.monotonic() - since >= _SETTLE_SECONDS:
                    return
            except Unwell as error:
                process = 0
                if time.monotonic() > deadline:
                    raise Unwell(f"{error}, {_START_SECONDS:.0f} s after its start") from error
            time.sleep(0.5)

    def _hear(self) -> None:
        """Ask the release itself what its process's heartbeat means."""
        release = CURRENT.resolve()
        role = self.role.partition("@")[0]
        file = RUN / self.name.replace("@", "-") / "heartbeat"
        command = (release / "venv/bin/python", "-m", "services.healthcheck", role, "--file", file)
        told = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=release / "app"
        )
        if told.returncode != 0:
            raise Unwell(f"is not well: {(told.stdout or told.stderr).strip()}")
        if not told.stdout.startswith(_AT_WORK):
            raise Unwell(f"is alive, but {told.stdout.strip()}")


def _get(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_CALL_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unwell(f"port {port} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise Unwell(f"port {port} answers {answer.status} to {path}: {body[:300]!r}")


def _ask_haproxy(command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CALL_SECONDS)
        connection.connect(os.fspath(HAPROXY))
        connection.sendall(f"{command}\n".encode())
        with connection.makefile() as answer:
            return answer.read()


def _servers() -> list[str]:
    """HAProxy's servers that are this host's gateway, as BACKEND/SERVER."""
    header, *lines = _ask_haproxy("show servers state").splitlines()[1:]
    names = header.removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines if line]
    return [
        f"{row['be_name']}/{row['srv_name']}"
        for row in rows
        if (row["srv_addr"], row["srv_port"]) == ("127.0.0.1", str(GATEWAY_PORT))
    ]


def _statistics(servers: list[str]) -> list[dict[str, str]]:
    lines = _ask_haproxy("show stat").removeprefix("# ").splitlines()
    return [row for row in csv.DictReader(lines) if f"{row['pxname']}/{row['svname']}" in servers]


def _wait(seconds: float, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not is_over() and time.monotonic() < deadline:
        time.sleep(0.2)


@contextmanager
def _out_of_haproxy(unit: Unit) -> Iterator[None]:
    """Let nobody new come to this gateway meanwhile; afterwards HAProxy's own checks judge again."""
    if unit.role != "gateway" or not HAPROXY.exists():
        yield
        return
    servers = _servers()
    try:
        for server in servers:
            _ask_haproxy(f"set server {server} state drain")
        _wait(_SESSION_SECONDS, lambda: all(row["scur"] == "0" for row in _statistics(servers)))
        yield
    finally:
        for server in servers:
            _ask_haproxy(f"set server {server} state ready")


def _await_haproxy(unit: Unit, status: str) -> None:
    """Wait until HAProxy has seen what became of a gateway: the next one's turn comes after that."""
    if unit.role == "gateway" and HAPROXY.exists():
        servers = _servers()
        _wait(
            _NOTICE_SECONDS,
            lambda: all(row["status"].startswith(status) for row in _statistics(servers)),
        )


def restart(unit: Unit) -> str:
    """Restart it if it runs."""
    try:
        unit.process()
    except Unwell:
        return f"unchanged: {unit.name} did not run"
    return _bring_up(unit)


def renew(unit: Unit) -> str:
    """Have it run the current release: restart it unless it is well and does so already."""
    try:
        unit.check()
    except Unwell:
        return _bring_up(unit)
    return f"unchanged: {unit.name} runs {unit.release()}"


def _bring_up(unit: Unit) -> str:
    with _out_of_haproxy(unit):
        unit.systemctl("restart")
        unit.await_well()
    _await_haproxy(unit, "UP")
    return f"changed: {unit.name} runs {unit.release()}"


def start(unit: Unit) -> str:
    """Start it unless it runs, and wait until it is well."""
    try:
        unit.process()
        was = "unchanged"
    except Unwell:
        unit.systemctl("start")
        was = "changed"
    unit.await_well()
    _await_haproxy(unit, "UP")
    return f"{was}: {unit.name} runs {unit.release()}"


def stop(unit: Unit) -> str:
    """Stop it; its callers are gone before."""
    try:
        unit.process()
    except Unwell:
        unit.systemctl("stop")  # it may be between two starts
        return f"unchanged: {unit.name} did not run"
    with _out_of_haproxy(unit):
        unit.systemctl("stop")
        _await_haproxy(unit, "DOWN")
    if unit.show()["Result"] == "timeout":
        raise Unwell("was killed: it did not finish what it had in time, and others do that again")
    return f"changed: {unit.name} has finished and stopped"


def check(unit: Unit) -> str:
    """Change nothing, only look."""
    unit.check()
    return f"unchanged: {unit.name} runs {unit.release()}"


_ACTIONS = {each.__name__: each for each in (renew, restart, start, stop, check)}


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="roll.py", description=__doc__)
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("unit", help="such as doorbell-gateway or doorbell-worker@db_writes.2")
    options = parser.parse_args()
    unit = Unit(options.unit.removesuffix(".service"))
    try:
        print(_ACTIONS[options.action](unit))
    except Unwell as error:
        print(
            f"{unit.name} {error}. Its log: journalctl --unit={unit.name} --lines=50",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
