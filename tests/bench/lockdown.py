"""`python -m tests.bench.lockdown`: how long it takes to lock many users, to stop that, and to take it back."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from deploy.local.layout import REPOSITORY
from services.queries import load_queries
from tests.bench.__main__ import private_cluster
from tests.bench.command import end_on_sigterm, positive, say
from tests.bench.meanwhile import PER_SECOND, Logins
from tests.bench.result import percentile

_TENANT = "demo"
_COMMAND = (sys.executable, "-c", "from services.cli.main import main; main()")
"""`doorbell`, of this checkout."""
_SECONDS = 600.0
_ALONE = 200
"""So many logins are looked at with nobody locked."""
_STOP_AFTER = 0.25
"""The stop comes when so much of the users are locked."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, each from the start of the command, which is a process of its own.

    locked: until the last user was locked; command: until it came back, with every notice recorded.
    sent_by_then: mails that had left; the others are on their way, and withdrawn when it is taken back.
    stopped: from when the stop was said (the command has started by then) until the last switch was seen to go on.
    stop_command: until it came back.
    undone: until the last switch was off again, and the command back.
    """

    users: int
    locked: float
    command: float
    sent_by_then: int
    stopped: float
    stop_command: float
    switched_by_then: int
    undone: float
    left_on: int


@dataclass(frozen=True, slots=True)
class Told:
    """What logins on new devices wait for while many users are locked, and told.

    locked: seconds from the start of the command until the last user was locked; told: until the last mail had left.
    verdict_*, notice_*: of logins that were reported meanwhile, seconds from accepted to verdict stored, and to mail
    handed over; alone: with nobody locked.
    """

    users: int
    locked: float
    told: float
    logins: int
    verdict_p50: float
    verdict_p99: float
    notice_p50: float
    notice_p99: float
    alone_notice_p50: float
    alone_notice_p99: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when something was left locked."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    with private_cluster({}) as cluster:
        endpoints = json.loads(cluster.layout.endpoints.read_text())
        with psycopg.connect(endpoints["database_url"], autocommit=True) as connection:
            operator = Operator(endpoints, connection, options.notices_onto)
            figures = (
                operator.tell(options.users, options.logins)
                if options.logins
                else operator.measure(options.users)
            )
    for name, value in asdict(figures).items():
        print(
            f"{name:>16} {value:10,.2f}" if isinstance(value, float) else f"{name:>16} {value:10,}"
        )
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    return 1 if isinstance(figures, Figures) and figures.left_on else 0


class Operator:
    """Somebody at a keyboard, and what the database says about what was done."""

    def __init__(
        self,
        endpoints: dict[str, str],
        connection: psycopg.Connection[Any],
        notices_onto: str | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._onto = ("--notices-onto", notices_onto) if notices_onto else ()
        self._environment = os.environ | {
            "DOORBELL_DATABASE_URL": endpoints["database_url"],
            "DOORBELL_BROKER_URL": endpoints["broker_url"],
        }
        self._connection = connection
        self._queries = load_queries("tests.bench", "lockdown.sql")

    def measure(self, users: int) -> Figures:
        """Lock all, take it back, lock again, stop that, take that back."""
        names = self._users(users)
        say(f"locking {users} users")
        began = time.time()
        incident = self._run(*self._lockdown(), told=names)["incident_id"]
        command = time.time() - began
        locked = self._last_flip(incident) - began
        [(sent,)] = self._rows("sent", incident=incident)
        say("taking it back")
        began = time.time()
        self._run("undo", incident)
        undone = time.time() - began
        say("locking them again, to stop that")
        incident = self._run(*self._lockdown(), "--no-wait", told=names)["incident_id"]
        self._wait("is_part", incident, users=int(users * _STOP_AFTER))
        stopped, stop_command, switched = self._stop(incident)
        self._run("undo", incident)
        self._wait("is_over", incident)
        [(left_on,)] = self._rows("left_on", tenant=_TENANT)
        return Figures(
            users, locked, command, sent, stopped, stop_command, switched, undone, left_on
        )

    def tell(self, users: int, logins: int) -> Told:
        """Lock all, and report logins until the last of them was told."""
        names = self._users(users)
        alone = Logins(self._endpoints, self._connection, min(logins, _ALONE))
        meanwhile = Logins(self._endpoints, self._connection, logins)
        say("letting users sign in, whom others follow on new devices")
        alone.prepare()
        meanwhile.prepare()
        with alone.reported():
            time.sleep(_ALONE / PER_SECOND)
        _, before = alone.seconds()
        say(f"locking {users} users")
        began = time.time()
        with meanwhile.reported():
            incident = self._run(*self._lockdown(), told=names)["incident_id"]
            told = self._wait("is_told", incident) - began
        verdicts, notices = meanwhile.seconds()
        return Told(
            users,
            self._last_flip(incident) - began,
            told,
            len(notices),
            *(percentile(verdicts, share) for share in (50, 99)),
            *(percentile(notices, share) for share in (50, 99)),
            *(percentile(before, share) for share in (50, 99)),
        )

    def _users(self, users: int) -> str:
        """Makes so many; their names, one a line."""
        self._rows("make_users", tenant=_TENANT, users=users)
        return "\n".join(row[0] for row in self._rows("names", tenant=_TENANT))

    def _stop(self, incident: str) -> tuple[float, float, int]:
        """Seconds from the stop to the last switch seen, and until the command was back; how many were on."""
        began = grown_at = time.time()
        switched = 0
        with ThreadPoolExecutor(1) as threads:
            command = threads.submit(self._run, "stop", incident)
            while True:
                is_back = command.done()
                [(found,)] = self._rows("flips", incident=incident)
                if found > switched:
                    switched, grown_at = found, time.time()
                if is_back:
                    break
            ended_at = time.time()
            shown = command.result()["counts"]["switched"]
        if shown != switched:
            raise RuntimeError(f"the stop says {shown} were switched, and {switched} were")
        [(said_at,)] = self._rows("stopped_at", incident=incident)
        return max(0.0, grown_at - float(said_at)), ended_at - began, switched

    def _lockdown(self) -> tuple[str, ...]:
        return ("lockdown", _TENANT, "--switch", "locked", "--users", "-", "--yes", *self._onto)

    def _last_flip(self, incident: str) -> float:
        [(at,)] = self._rows("last_flip", incident=incident)
        return float(at)

    def _wait(self, query: str, incident: str, **values: object) -> float:
        until = time.time() + _SECONDS
        while not self._rows(query, incident=incident, **values)[0][0]:
            if time.time() > until:
                raise RuntimeError(f"{query}: not within {_SECONDS:.0f} seconds")
            time.sleep(0.05)
        return time.time()

    def _run(self, *arguments: str, told: str | None = None) -> dict[str, Any]:
        done = subprocess.run(
            [*_COMMAND, "incident", *arguments, "--json"],
            input=told,
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"doorbell incident {arguments[0]}: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(self._queries[query].encode(), values)
        return cursor.fetchall() if cursor.description else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lockdown", description=__doc__)
    add = parser.add_argument
    add("--users", type=positive, default=10_000, help="users who are locked (default: 10000)")
    add(
        "--logins",
        type=positive,
        metavar="NUMBER",
        help=f"measure how long as many logins on new devices wait meanwhile, {PER_SECOND:.0f} a second; nothing else",
    )
    add("--notices-onto", metavar="QUEUE", help="as doorbell incident lockdown has it")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
