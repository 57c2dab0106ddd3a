"""Two processes of one pool on one broker, and the command of an operator beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services import healthcheck
from services.cli.main import run
from tests.integration.runner.conftest import MODULE, SECONDS, Bench
from tests.support.fleet import Fleet, wait_until, with_the_topology
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

POOL = "db_writes"
Operate = Callable[..., tuple[int, Any]]


def process_ids(bench: Bench) -> list[int]:
    """The two worker processes as they are at this moment."""
    started = [int(line.split()[1]) for line in bench.lines("start")]
    return [pid for pid in started if Path(f"/proc/{pid}").exists()]


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package")
def session_bench(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("pools")
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        bench = Bench(node, fleet, url, directory, POOL)
        bench.rows("CREATE TABLE effect (item text)")
        for number in ("1", "2"):
            heartbeat = {"DOORBELL_HEARTBEAT_FILE": str(directory / f"heartbeat.{number}")}
            fleet.start(f"{POOL}.{number}", MODULE, (POOL, number), user=POOL, **heartbeat)
        bench.wait_for_consumers(2)
        yield bench
        bench.close()


@pytest.fixture
def bench(session_bench: Bench) -> Iterator[Bench]:
    """Nothing is drained, before and after."""
    yield session_bench
    session_bench.rows("UPDATE drain SET resumed_at = now() WHERE resumed_at IS NULL")
    session_bench.app.control.broadcast("read_drain")
    session_bench.wait_for_consumers(2)
    # What a process shows a supervisor is written once a second.
    wait_until(lambda: [_useful(session_bench, name) for name in ("1", "2")] == [0, 0], SECONDS)


def _useful(bench: Bench, name: str) -> int:
    return healthcheck.main(
        ["worker", "--useful", "--file", str(bench.directory / f"heartbeat.{name}")]
    )


@pytest.fixture
def operate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Operate:
    """Run the command with --json as an operator; gives its exit code and what it printed, or its complaint."""
    for name, value in bench.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)

    def command(*arguments: object) -> tuple[int, Any]:
        capfd.readouterr()
        code = run([*map(str, arguments), "--json"])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out else output.err

    return command
