"""The broker or the database goes away for a while: accepted logins end done, nobody is restarted."""

from __future__ import annotations

from uuid import uuid4

from routing.load import load
from tests.support.cluster import Cluster
from tests.support.fleet import wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


def _pids(cluster: Cluster) -> dict[str, int]:
    processes = cluster.fleet.processes
    return {pool: processes[pool].pid for pool in load().pools if processes[pool].poll() is None}


def test_the_broker_is_away_at_intake(cluster: Cluster, node: PrivateRabbitMQ) -> None:
    """The gateway answers 202 all the same; what it accepted runs once the broker is back."""
    before = _pids(cluster)
    node.stop()
    try:
        workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(5)]
        assert {cluster.workflow(w)["state"] for w in workflows} == {"accepted"}
    finally:
        node.start()

    assert cluster.ended(*workflows, seconds=90) == ["done"] * 5
    assert _pids(cluster) == before


def test_the_database_restarts_under_load(cluster: Cluster, postgres: PrivatePostgres) -> None:
    """Pools hold what they have; afterwards everything that was accepted ends done, saved once."""
    before = _pids(cluster)
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(10)]
    postgres.restart()
    wait_until(cluster.is_up, 60, "the gateway")

    assert cluster.ended(*workflows, seconds=90) == ["done"] * 10
    assert [cluster.count("login", w) for w in workflows] == [1] * 10
    assert _pids(cluster) == before
