"""The gateway as a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.gateway.door import KEYS, NO_BROKER, login, wait_until
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def process(**settings: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m services.gateway` with nothing but these settings; killed at the end."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | settings
    running = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_wrong_settings_are_all_named_and_end_the_start() -> None:
    """Exit code 2, one line for each mistake, no stack trace."""
    with process(DOORBELL_LISTEN_PORT="x", DOORBELL_BROKER_URL="amqp://h") as running:
        _, complaint = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "Traceback" not in complaint
    for name in ("DOORBELL_LISTEN_PORT", "DOORBELL_BROKER_URL", "DOORBELL_DATABASE_URL"):
        assert name in complaint


def test_it_starts_without_its_services_serves_and_stops_in_order(database_url: str) -> None:
    """It comes up with the broker away, accepts, shows metrics apart, and ends cleanly on SIGTERM."""
    port, metrics_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with process(
        DOORBELL_DATABASE_URL=database_url,
        DOORBELL_BROKER_URL=NO_BROKER,
        DOORBELL_LISTEN_PORT=str(port),
        DOORBELL_METRICS_PORT=str(metrics_port),
    ) as running:
        wait_until(lambda: answers(f"{url}/readyz"), seconds=60)
        headers = {"Authorization": f"Bearer {KEYS['shop']}"}
        answer = httpx.post(f"{url}/v1/logins", json=login(), headers=headers, trust_env=False)
        assert answer.status_code == 202
        assert "server" not in answer.headers
        metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False)
        assert 'doorbell_logins_total{outcome="accepted"} 1.0' in metrics.text
        running.send_signal(signal.SIGTERM)
        _, log = running.communicate(timeout=60)
    assert running.returncode in (0, -signal.SIGTERM)
    # As a word: the digits of a workflow's id may spell it too.
    assert not re.search(r"\bada\b", log)
    assert "Application shutdown complete" in log
