"""A worker of each style on one broker that no worker ever ran on before; one of Celery's own with Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

import pytest

from tests.integration.messaging.bench import MODULE, Bench
from tests.integration.messaging.worker_of_messages import stock_app
from tests.support.fleet import Fleet, wait_until, with_the_topology
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

POOLS = {"batch": "db_writes", "io": "notifications"}

EARLY_SECONDS = 3


@dataclass
class Benches:
    """The two workers, and when each was sent a message that was to wait for its first start."""

    by_style: dict[str, Bench] = field(default_factory=dict)
    sent_early: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, style: str) -> Bench:
        return self.by_style[style]


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package")
def benches(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Benches]:
    """A database each, since a worker of one would otherwise find the other's steps."""
    found = Benches()
    with postgres.database() as one, postgres.database() as two:
        for (style, pool), url in zip(POOLS.items(), (one, two), strict=True):
            directory = tmp_path_factory.mktemp(style)
            found.by_style[style] = Bench(node, Fleet(node, url, directory), url, directory, pool)
        try:
            for style, bench in found.by_style.items():
                bench.script.send_task("hand.say", [f"early-{style}"], countdown=EARLY_SECONDS)
                found.sent_early[style] = time()
            for bench in found.by_style.values():
                bench.launch()
            for bench in found.by_style.values():
                bench.wait_for_consumers(1)
            yield found
        finally:
            for bench in found.by_style.values():
                bench.close()
                bench.fleet.__exit__(None, None, None)


@pytest.fixture(params=POOLS)
def bench(request: pytest.FixtureRequest, benches: Benches) -> Bench:
    """Each style in turn."""
    return benches[request.param]


@pytest.fixture(scope="package")
def redis_url() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is missing: install the package redis-server"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    process = subprocess.Popen(
        # A killed test run leaves no server behind.
        [
            *("setpriv", "--pdeathsig", "KILL", program, "--port", str(port)),
            *("--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Stock:
    """Celery as it comes: a client, and what its worker's tasks noted."""

    app: Any
    node: PrivateRabbitMQ
    directory: Path

    def lines(self, start: str = "") -> list[str]:
        file = self.directory / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(start)]

    def is_idle(self) -> bool:
        """Nothing waits in its queue, and its worker holds nothing: whatever is pending now, stays so."""
        inspect = self.app.control.inspect(timeout=5, limit=1)
        held = [inspect.active(), inspect.reserved(), inspect.scheduled()]
        known = all(answer is not None for answer in held)
        return known and not any(any(each.values()) for each in held) and not self._waiting()

    def _waiting(self) -> int:
        return self.node.peek("hand", "stock")[0]


@pytest.fixture(scope="package")
def stock(
    node: PrivateRabbitMQ,
    postgres: PrivatePostgres,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stock]:
    """The negative control: the same canvases on Celery's own worker with Redis."""
    directory = tmp_path_factory.mktemp("stock")
    node.manage("PUT", "vhosts/stock")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    node.manage("PUT", f"permissions/stock/{ADMINISTRATOR}", everything)
    broker_url = node.broker_url(ADMINISTRATOR, node.password, "stock")
    with Fleet(node, "", directory) as fleet:
        fleet.start("stock", MODULE, ("--stock", broker_url, redis_url), user="operator")
        app = stock_app(broker_url, redis_url)
        wait_until(
            lambda: (
                any(queue["name"] == "hand" for queue in node.manage("GET", "queues/stock"))
                and node.peek("hand", "stock")[1]
            )
        )
        yield Stock(app, node, directory)
        app.backend.result_consumer.stop()
        # Results unsubscribe when they are collected, for which Redis may be gone by then.
        app.backend.remove_pending_result = lambda result: result
        app.close()
    node.manage("DELETE", "vhosts/stock")
