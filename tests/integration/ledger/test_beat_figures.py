"""Of several beats, the one that leads shows the figures of the ledger."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.integration.ledger.conftest import Database
from tests.support.fleet import wait_until
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
FIGURE = "doorbell_open_workflows "


class Beat:
    """A process of beat whose broker is away, and what it shows."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def page(self) -> str:
        """Empty while the process does not answer yet."""
        try:
            return httpx.get(self._url, trust_env=False).text
        except httpx.TransportError:
            return ""

    def shows(self) -> bool:
        return f"\n{FIGURE}" in self.page()


@contextmanager
def beat(database: Database) -> Iterator[Beat]:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DOORBELL_DATABASE_URL": database.url,
        "DOORBELL_BROKER_URL": "pyamqp://nobody:nothing@127.0.0.1:1/doorbell",
        "DOORBELL_METRICS_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.schedule"]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            yield Beat(port)
        finally:
            running.kill()


def test_the_beat_that_leads_shows_them_and_the_next_one_after_it(database: Database) -> None:
    """Also without a broker. One that stands by shows that it does not tick, and nothing of the ledger."""
    database.add_workflow()
    with ExitStack() as later:
        with beat(database) as first:
            wait_until(first.shows, 60)
            assert f"\n{FIGURE}1.0" in first.page()
            second = later.enter_context(beat(database))
            wait_until(lambda: "doorbell_beat_ticks_total 0.0" in second.page(), 60)
            assert not second.shows()
        wait_until(second.shows, 60)
