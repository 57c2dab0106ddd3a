"""Workers of ours in both styles, and one of Celery's own with Redis, on one private broker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from routing.load import load
from services import settings
from services.celery_app import make_app
from tests.support.canvas_tasks import register, stock_app
from tests.support.fleet import Fleet, wait_until, with_the_topology
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

MODULE = "tests.support.canvas_tasks"


@dataclass
class Workshop:
    """An app with hand-made tasks and a running worker for them."""

    app: Celery
    tasks: dict[str, Any]
    directory: Path
    log: Callable[[], str]
    settings: settings.Settings | None = None

    @contextmanager
    def somebody_else(self) -> Iterator[Celery]:
        """An app of another process: the product's, which has seen nothing of what was sent."""
        assert self.settings is not None
        app = make_app(self.settings, load())
        try:
            yield app
        finally:
            app.ledger.close()
            app.close()

    def __getattr__(self, name: str) -> Any:
        return self.tasks[name]

    def seen(self, line: str = "") -> int:
        """How often the tasks have noted a line that starts like this."""
        file = self.directory / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        return sum(found.startswith(line) for found in lines)

    def forget(self) -> None:
        (self.directory / "seen").unlink(missing_ok=True)


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package", params=["maintenance", "db_writes"], ids=["io", "batch"])
def ours(
    request: pytest.FixtureRequest,
    node: PrivateRabbitMQ,
    postgres: PrivatePostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Workshop]:
    """A pool's worker of each style; the client uses the same broker user."""
    pool = request.param
    directory = tmp_path_factory.mktemp(pool)
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        fleet.start(pool, MODULE, (pool,))
        environment = fleet.environment(pool)
        wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
        current = settings.load(wanted)
        app = make_app(current, load())
        tasks = register(app, pool, str(directory))
        workshop = Workshop(app, tasks, directory, lambda: fleet.log(pool), current)
        wait_until(lambda: node.peek(pool, "doorbell")[1])
        yield workshop
        app.ledger.close()
        app.close()


@pytest.fixture(scope="package")
def redis_url() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing: install the package redis-server")
        pytest.skip("redis-server is missing: install the package redis-server")
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


@pytest.fixture(scope="package")
def stock(
    node: PrivateRabbitMQ,
    postgres: PrivatePostgres,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Workshop]:
    """Celery as it comes, with Redis: what a hand-made canvas is compared with."""
    directory = tmp_path_factory.mktemp("stock")
    node.manage("PUT", "vhosts/stock")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    node.manage("PUT", f"permissions/stock/{ADMINISTRATOR}", everything)
    broker_url = node.broker_url(ADMINISTRATOR, node.password, "stock")
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        fleet.start("stock", MODULE, ("--stock", broker_url, redis_url), user="operator")
        app = stock_app(broker_url, redis_url)
        tasks = register(app, "hand", str(directory))
        wait_until(
            lambda: (
                any(queue["name"] == "hand" for queue in node.manage("GET", "queues/stock"))
                and node.peek("hand", "stock")[1]
            )
        )
        yield Workshop(app, tasks, directory, lambda: fleet.log("stock"))
        app.backend.result_consumer.stop()
        # Results unsubscribe when they are collected, for which Redis may be gone by then.
        app.backend.remove_pending_result = lambda result: result
        app.close()
