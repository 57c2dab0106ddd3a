"""One running cluster with an outlier API that the tests adjust; each test has users of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from routing.load import load
from services.cli.main import run
from tests.support.cluster import Cluster, running_cluster
from tests.support.fleet import wait_until, with_the_topology
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

Operate = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package")
def adjustable() -> Iterator[AdjustableOutlierApi]:
    with AdjustableOutlierApi() as running:
        yield running


@pytest.fixture(scope="package")
def session_cluster(
    node: PrivateRabbitMQ,
    postgres: PrivatePostgres,
    adjustable: AdjustableOutlierApi,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with (
        postgres.database() as url,
        running_cluster(node, url, directory, adjustable.url) as running,
    ):
        yield running


@pytest.fixture
def api(adjustable: AdjustableOutlierApi) -> AdjustableOutlierApi:
    adjustable.reset()
    return adjustable


@pytest.fixture
def cluster(session_cluster: Cluster, api: AdjustableOutlierApi) -> Cluster:
    """The cluster with a closed breaker, an API that answers well, a beat that leads, and all pools."""
    _make_pools_work(session_cluster)
    _make_a_beat_lead(session_cluster)
    session_cluster.rows("DELETE FROM breaker")
    return session_cluster


def _make_pools_work(cluster: Cluster) -> None:
    """Start what an earlier test has stopped, and wait for what it has just started: one failure is not many."""
    fleet, ended = cluster.fleet, {}
    for pool in load().pools:
        process = fleet.processes.get(pool)
        if process is not None and process.poll() is not None:
            ended[pool] = process.returncode
        if process is None or pool in ended:
            fleet.start(pool)
    for queue in load().queues:
        wait_until(partial(cluster.consumers, queue), 60, f"a consumer of {queue}")
    assert not ended, f"ended by themselves before this test, with these statuses: {ended}"


def _make_a_beat_lead(cluster: Cluster) -> None:
    """Start the beat again in its supervisor's place when it has ended.

    One whose database went, as an outage test makes it, ends only when it next
    looks: that it runs does not say that it leads. Its lock does.
    """

    def leads() -> bool:
        if cluster.beats(leading=True):
            return True
        beat = cluster.fleet.processes.get("beat")
        if beat is None or beat.poll() is not None:
            cluster.fleet.start("beat", "services.schedule")
        return False

    wait_until(leads, 30, "a beat leads")


@pytest.fixture
def operate(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Operate]:
    """Run the command with --json as an operator; gives its exit code and what it printed. Nothing stays held back."""
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)

    def command(*arguments: str) -> tuple[int, Any]:
        capfd.readouterr()
        code = run([*arguments, "--json"])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out else output.err

    yield command
    cluster.rows("UPDATE pause SET resumed_at = now() WHERE resumed_at IS NULL")
    cluster.rows("UPDATE rate_limit SET lifted_at = now() WHERE lifted_at IS NULL")
