"""`python -m tests.bench.receivers`: how long an application waits for its webhook while two hundred others hang."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

from services.queries import load_queries
from tests.bench.__main__ import private_cluster
from tests.bench.command import end_on_sigterm, positive, say
from tests.bench.doorbell import Doorbell
from tests.bench.result import percentile

_FAST = "fast"
_KEPT_BUSY = 3
"""Events that are due for each slow application at any time."""
_FEED_SECONDS = 0.5
_DEADLINE_SECONDS = 30.0
_SQL = load_queries("tests.bench", "receivers.sql")


class _Applications(ThreadingHTTPServer):
    """On one port: `/fast` answers at once and notes when it is called, the others take some seconds."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, slow_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.slow_seconds = slow_seconds
        self.came_at: float | None = None
        self.came = threading.Event()
        self.slow_calls = 0
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Applications

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == f"/{_FAST}":
            self.server.came_at = time.time()
            self.server.came.set()
        else:
            with self.server.lock:
                self.server.slow_calls += 1
            time.sleep(self.server.slow_seconds)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: there are thousands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a call did not come."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    with (
        private_cluster({}) as cluster,
        closing(Doorbell(cluster)) as doorbell,
        psycopg.connect(doorbell.endpoints["database_url"], autocommit=True) as database,
        _applications(options.seconds) as applications,
    ):
        base = f"http://127.0.0.1:{applications.server_address[1]}"
        _run(database, "tenants", number=options.slow, base=base, fast=_FAST)
        say(f"{options.calls} webhooks to an application alone")
        alone = _waits(database, applications, options.calls)
        say(f"{options.calls} more while {options.slow} others take {options.seconds} s for each")
        with _kept_busy(database):
            _wait_for_load(applications, options.slow)
            before, began = applications.slow_calls, time.monotonic()
            beside = _waits(database, applications, options.calls)
            rate = (applications.slow_calls - before) / (time.monotonic() - began)
    print("From an application's turn to its call, the database's clock and the application's:")
    for name, values in (("alone", alone), (f"beside {options.slow} slow ones", beside)):
        print(
            f"  {name:<22} p50 {1000 * percentile(values, 50):6.1f} ms"
            f"   p99 {1000 * percentile(values, 99):6.1f} ms   of {len(values)}"
        )
    print(f"The slow ones were called {rate:.0f} times a second meanwhile.")
    return 0 if len(alone) == len(beside) == options.calls else 1


def _waits(
    database: psycopg.Connection[Any], applications: _Applications, calls: int
) -> list[float]:
    waits = []
    for _ in range(calls):
        applications.came.clear()
        _run(database, "event", tenant=_FAST)
        if not applications.came.wait(_DEADLINE_SECONDS) or applications.came_at is None:
            break
        [(called_at,)] = _run(database, "called_at", tenant=_FAST)
        waits.append(applications.came_at - float(called_at))
    return waits


@contextmanager
def _kept_busy(database: psycopg.Connection[Any]) -> Iterator[None]:
    ends = threading.Event()

    def feed() -> None:
        while not ends.wait(_FEED_SECONDS):
            _run(database, "feed", most=_KEPT_BUSY)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _wait_for_load(applications: _Applications, slow: int) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while applications.slow_calls < 2 * slow and time.monotonic() < deadline:
        time.sleep(_FEED_SECONDS)


@contextmanager
def _applications(slow_seconds: float) -> Iterator[_Applications]:
    with _Applications(slow_seconds) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _run(database: psycopg.Connection[Any], name: str, **values: object) -> list[tuple[Any, ...]]:
    cursor = database.execute(_SQL[name].encode(), values)
    return cursor.fetchall() if cursor.description else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.receivers", description=__doc__)
    add = parser.add_argument
    add("--slow", type=positive, default=200, help="applications that take their time")
    add("--seconds", type=float, default=2.0, help="that they take for each call")
    add("--calls", type=positive, default=20, help="to the fast one, alone and beside them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
