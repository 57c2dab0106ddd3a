"""The reference outlier API in a process of its own, over real sockets."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests

from tests.support.ports import free_port

DEADLINE_SECONDS = 20.0
"""Within which it serves, and within which it ends."""


@dataclass(frozen=True)
class Api:
    """The running process, and what tests ask it one by one."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def score(self, body: Any, path: str = "/v1/score", **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url + path, json=body, headers=named, timeout=10)

    def metric(self, line: str) -> float:
        text = requests.get(f"{self.url}/metrics", timeout=10).text
        return next(
            (float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line)),
            0.0,
        )


@contextmanager
def serving(database: Path, *options: str, log: IO[bytes] | None = None) -> Iterator[Api]:
    """The API on a free port, ended at the end. log: takes what it says, which is shown otherwise."""
    port = free_port()
    command = [sys.executable, "-m", "services.outlier", "--port", str(port)]
    process = subprocess.Popen([*command, "--database", str(database), *options], stderr=log)
    api = Api(port, process)
    try:
        _wait_healthy(api)
        yield api
    finally:
        _end(process)


def _wait_healthy(api: Api) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        assert api.process.poll() is None, "the outlier API ended before it served"
        try:
            if requests.get(f"{api.url}/healthz", timeout=1).ok:
                return
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
