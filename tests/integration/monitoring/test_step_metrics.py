"""What pools tell Prometheus of logins: how long they waited and took, and what came of them, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster import IPHONE, Cluster, running_cluster
from tests.support.fleet import wait_until
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

_POOLS = ("db_writes", "notifications")

Samples = Callable[..., float]


@pytest.fixture(scope="module")
def seen(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, Samples]]:
    """Two logins of one user on two devices, and what the pools that end them tell."""
    ports = {pool: free_port() for pool in _POOLS}
    with (
        postgres.database() as url,
        running_cluster(node, url, tmp_path_factory.mktemp("measured")) as cluster,
    ):
        for pool, port in ports.items():
            cluster.fleet.stop(pool)
            cluster.fleet.start(pool, DOORBELL_METRICS_PORT=str(port))
            wait_until(partial(cluster.consumers, pool), 60, pool)
        cluster.ended(cluster.post("ada"))
        cluster.ended(cluster.post("ada", IPHONE))

        def sample(pool: str, name: str, **labels: str) -> float:
            text = requests.get(f"http://127.0.0.1:{ports[pool]}/metrics", timeout=10).text
            return sum(
                each.value
                for family in text_string_to_metric_families(text)
                for each in family.samples
                if each.name == name and labels.items() <= each.labels.items()
            )

        yield cluster, sample


def _is_idle(sample: Samples, pool: str) -> bool:
    """Whatever was taken has ended, and was counted then."""
    ended = sample(pool, "doorbell_steps_total")
    return ended == sample(pool, "doorbell_steps_received_total")


def test_verdicts_are_counted_by_level_with_their_time(seen: tuple[Cluster, Samples]) -> None:
    """One for each login, and the seconds since it was accepted."""
    cluster, sample = seen
    ((seconds,),) = cluster.rows(
        "SELECT sum(extract(epoch FROM v.stored_at - r.received_at))::float8"
        " FROM verdict AS v JOIN reported_login AS r USING (workflow_id)"
    )
    for level, count in cluster.rows("SELECT level, count(*) FROM verdict GROUP BY level"):
        wait_until(lambda: sample("db_writes", "doorbell_verdicts_total", level=level) == count, 10)  # noqa: B023
    assert sample("db_writes", "doorbell_verdicts_total") == 2
    assert sample("db_writes", "doorbell_verdict_seconds_count") == 2
    # A row's time is its transaction's beginning.
    assert 0 <= sample("db_writes", "doorbell_verdict_seconds_sum") - seconds < 1


def test_a_notice_is_counted_by_channel_and_outcome(seen: tuple[Cluster, Samples]) -> None:
    """The second device's, by mail, once."""
    _, sample = seen
    sent = {"channel": "email", "outcome": "sent"}
    wait_until(lambda: sample("notifications", "doorbell_notices_total", **sent) == 1, 20)
    assert sample("notifications", "doorbell_notices_total") == 1


def test_every_step_has_its_wait_and_its_list(seen: tuple[Cluster, Samples]) -> None:
    """Each was in a queue for a while and in one transaction, whose steps add up."""
    cluster, sample = seen
    open_steps = "SELECT count(*) FROM step WHERE state IN ('planned', 'ready', 'retrying')"
    wait_until(lambda: cluster.rows(open_steps) == [(0,)], 20, "steps are open")
    for pool in _POOLS:
        wait_until(partial(_is_idle, sample, pool), 20, pool)
        waits = sample(pool, "doorbell_step_wait_seconds_count")
        assert waits == sample(pool, "doorbell_steps_received_total")
        assert 0 <= sample(pool, "doorbell_step_wait_seconds_sum") < 60
        assert sample(pool, "doorbell_list_steps_sum") == waits
        lists = sample(pool, "doorbell_list_steps_count")
        assert 1 <= lists <= waits
        assert sample(pool, "doorbell_transaction_seconds_count") == lists
        assert sample(pool, "doorbell_publish_seconds_count") <= lists
    assert sum(sample(pool, "doorbell_publish_seconds_count") for pool in _POOLS) >= 1
