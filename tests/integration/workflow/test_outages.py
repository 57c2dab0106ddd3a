"""The broker or the database goes away for a while: accepted logins end done, nobody is restarted."""

from __future__ import annotations

from uuid import uuid4

from routing.load import load
from tests.support.cluster import Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi
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


def test_the_database_is_away_while_calls_are_under_way(
    cluster: Cluster, postgres: PrivatePostgres, api: AdjustableOutlierApi
) -> None:
    """No step fails because the ledger could not be reached: their answers are held, verdicts kept."""
    api.hold.clear()
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(5)]
    wait_until(lambda: all(api.calls[workflow] for workflow in workflows), 30)
    postgres.stop()
    api.hold.set()
    said = "PostgreSQL is away, holding what is unacked"
    wait_until(lambda: said in cluster.fleet.log("external_api"), 40, said)
    postgres.start()
    wait_until(cluster.is_up, 60, "the gateway")

    assert cluster.ended(*workflows, seconds=90) == ["done"] * 5
    levels = cluster.rows(
        "SELECT level FROM verdict WHERE workflow_id = ANY(%s::uuid[])", workflows
    )
    assert levels == [("low",)] * 5


def test_a_second_beat_takes_over(cluster: Cluster) -> None:
    """Of two, one works: the second waits for the first one's session to end, then ticks."""
    cluster.fleet.start("second beat", "services.schedule", user="beat")
    wait_until(lambda: cluster.beats(leading=False) == 1, 30, "the second beat waits")
    cluster.fleet.kill("beat")
    ticks = "SELECT count(*) FROM step WHERE task = 'maintenance.relay' AND state = 'done'"
    before = cluster.rows(ticks)[0][0]

    wait_until(lambda: cluster.rows(ticks)[0][0] > before + 1, 30, "the second beat ticks")
