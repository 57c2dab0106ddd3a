"""Flower as it is deployed: it misses nothing that happens while it stands still, and viewers change nothing."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from celery import Celery

from tests.support.fleet import Fleet, wait_until
from tests.support.ports import free_port
from tests.support.rabbitmq import PrivateRabbitMQ

EVENTS = 300
BULK = "x" * 100_000
"""So large that the sockets between broker and Flower cannot hold what the test sends."""

CELERYS_TTL_SECONDS = 5.0
TASK = "db_writes.save_event"


@contextmanager
def running_flower(
    node: PrivateRabbitMQ, directory: Path, *options: str, **environment: str
) -> Iterator[tuple[Fleet, httpx.Client]]:
    """Flower in a process of its own, and a client that it lets in."""
    port = free_port()
    with Fleet(node, "postgresql://127.0.0.1:1/none", directory) as fleet:
        fleet.start(
            "flower",
            "celery",
            (
                *("--app=deploy.flower.app", "flower", "--conf=deploy/flower/flowerconfig.py"),
                *("--address=127.0.0.1", f"--port={port}", *options),
            ),
            FLOWER_BASIC_AUTH="a:b",
            **environment,
        )
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, auth=("a", "b"), trust_env=False) as client:

            def listens() -> bool:
                return any(
                    queue["name"].startswith("celeryev.") and queue.get("consumers")
                    for queue in node.manage("GET", "queues/doorbell")
                )

            wait_until(listens, 60, fleet.log("flower"))
            yield fleet, client


def heard(client: httpx.Client) -> int:
    """How many events of our task Flower has counted."""
    try:
        page = client.get("/metrics").text
    except httpx.TransportError:
        return 0
    counts = re.findall(rf'^flower_events_total{{task="{TASK}".*}} (\S+)$', page, re.MULTILINE)
    return int(sum(float(count) for count in counts))


def test_what_happens_while_it_stands_still_is_heard_later(
    node: PrivateRabbitMQ, tmp_path: Path
) -> None:
    """Longer than Celery would keep an event for it."""
    with (
        running_flower(node, tmp_path) as (fleet, client),
        Celery(broker=fleet.broker_url("db_writes"), set_as_current=False) as app,
    ):
        fleet.processes["flower"].send_signal(signal.SIGSTOP)
        with app.connection_for_write() as connection, app.events.Dispatcher(connection) as sender:
            for _ in range(EVENTS):
                sender.send("task-received", uuid=str(uuid4()), name=TASK, args=BULK, kwargs="{}")
        sent_at = time.monotonic()
        wait_until(lambda: time.monotonic() > sent_at + CELERYS_TTL_SECONDS + 2, 30, "time")
        fleet.processes["flower"].send_signal(signal.SIGCONT)
        wait_until(lambda: heard(client) == EVENTS, 60, f"heard {heard(client)} of {EVENTS}")


def test_its_log_has_a_line_of_json_for_each_event(node: PrivateRabbitMQ, tmp_path: Path) -> None:
    """As those of all our processes, a connection that breaks included."""
    with running_flower(node, tmp_path, DOORBELL_HOST_NAME="one") as (fleet, _):
        for connection in node.manage("GET", "connections"):
            node.manage("DELETE", f"connections/{quote(connection['name'])}")

        def tells() -> bool:
            return "warning" in fleet.log("flower")

        wait_until(tells, 60, "a warning")
        lines = [json.loads(line) for line in fleet.log("flower").splitlines()]
    assert all((line["process"], line["host"]) == ("flower", "one") for line in lines)


def test_viewers_see_and_change_nothing(node: PrivateRabbitMQ, tmp_path: Path) -> None:
    """Its pages are there; what would end a worker or revoke a task is refused."""
    with running_flower(node, tmp_path, "--read-only") as (_, client):
        assert client.get("/api/workers").status_code == 200
        for command in (
            "/api/worker/shutdown/any",
            "/api/task/revoke/any",
            f"/api/task/send-task/{TASK}",
        ):
            assert client.post(command).status_code == 403, command
        assert httpx.get(str(client.base_url) + "/api/workers", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    ("options", "environment"),
    [(("--url_prefix=/of/flower",), {}), ((), {"FLOWER_URL_PREFIX": "/of/flower"})],
    ids=["hosts", "containers"],
)
def test_it_stands_behind_a_path(
    node: PrivateRabbitMQ, tmp_path: Path, options: tuple[str, ...], environment: dict[str, str]
) -> None:
    """As a proxy hands it on: pages, what they fetch, what programs ask; nothing outside the path."""
    with running_flower(node, tmp_path, *options, **environment) as (_, client):
        page = client.get("/of/flower/workers")
        assert page.status_code == 200
        links = set(re.findall(r'(?:src|href)="(/[^"]*)"', page.text))
        assert links
        assert {link for link in links if not link.startswith("/of/flower/")} == set()
        fetched = [link for link in links if "static" in link]
        for path in (
            *fetched,
            "/of/flower/api/workers",
            "/of/flower/metrics",
            "/of/flower/healthcheck",
        ):
            assert client.get(path).status_code == 200, path
        assert client.get("/workers").status_code == 404
