"""Logins on new devices that an application reports while something else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import requests

from services.queries import load_queries

PER_SECOND = 20.0
_BATCH = 500
_SECONDS = 300.0
_KNOWN = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
_NEW = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"


class Logins:
    """So many users, each with one device that is known; each login is on a second one, and gives a notice."""

    def __init__(
        self, endpoints: dict[str, str], connection: psycopg.Connection[Any], number: int
    ) -> None:
        self._door = f"{endpoints['gateway']}/v1/logins"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {endpoints['api_key']}"
        self._connection = connection
        self._queries = load_queries("tests.bench", "measure.sql")
        run = uuid4().hex[:8]
        self._users = [f"meanwhile-{run}-{place}" for place in range(number)]
        self._workflows: list[str] = []

    def prepare(self) -> None:
        """Let each user sign in for the first time, and wait until all of that is done."""
        for start in range(0, len(self._users), _BATCH):
            batch = [_login(user, _KNOWN) for user in self._users[start : start + _BATCH]]
            answer = self._session.post(f"{self._door}:batch", json={"logins": batch}, timeout=60)
            if answer.status_code != 200:
                raise RuntimeError(f"not all of {len(batch)} logins were accepted: {answer.text}")
        self._wait_for_all()

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Report them evenly until the end of the block, or until each user has had one."""
        is_over = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            reporting = threads.submit(self._report, is_over)
            try:
                yield
            finally:
                is_over.set()
            reporting.result()

    def seconds(self) -> tuple[Sequence[float], Sequence[float]]:
        """From accepted to verdict stored, and to mail handed over, of each; waits until all have ended."""
        self._wait_for_all()
        verdicts, notices = (
            [float(row[0]) for row in self._rows(name, workflows=self._workflows)]
            for name in ("latencies", "notice_latencies")
        )
        if {len(verdicts), len(notices)} != {len(self._workflows)}:
            raise RuntimeError(
                f"{len(self._workflows)} logins have {len(verdicts)} verdicts and {len(notices)} mails"
            )
        return verdicts, notices

    def _report(self, is_over: threading.Event) -> None:
        began = time.monotonic()
        for place, user in enumerate(self._users):
            if is_over.wait(max(0.0, began + place / PER_SECOND - time.monotonic())):
                return
            answer = self._session.post(self._door, json=_login(user, _NEW), timeout=60)
            answer.raise_for_status()
            self._workflows.append(answer.json()["workflow_id"])

    def _wait_for_all(self) -> None:
        until = time.monotonic() + _SECONDS
        while self._rows("unfinished")[0][0]:
            if time.monotonic() > until:
                raise RuntimeError(f"logins or notices were not done within {_SECONDS:.0f} seconds")
            time.sleep(0.1)

    def _rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._queries[query].encode(), values).fetchall()


def _login(user: str, user_agent: str) -> dict[str, str]:
    return {
        "event_id": str(uuid4()),
        "user_id": user,
        "occurred_at": datetime.now(UTC).isoformat(),
        "ip": "203.0.113.7",
        "user_agent": user_agent,
        "email": f"{user}@example.org",
    }
