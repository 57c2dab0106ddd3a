"""The canary comes back while every pool works, and stays away while one does not."""

from __future__ import annotations

from datetime import datetime

from tests.support.cluster import Cluster
from tests.support.fleet import wait_until

SECONDS = 45


def returned_at(cluster: Cluster) -> datetime:
    found: datetime = cluster.rows("SELECT returned_at FROM canary")[0][0]
    return found


def comes_back(cluster: Cluster) -> None:
    before = returned_at(cluster)
    wait_until(lambda: returned_at(cluster) > before, SECONDS, "a canary")


def test_it_comes_back_only_while_every_pool_works(cluster: Cluster) -> None:
    """With a pool gone its probe waits, and so does the join; once it is back, so is the canary."""
    comes_back(cluster)
    before = returned_at(cluster)
    cluster.fleet.kill("external_api")
    wait_until(lambda: cluster.node.peek("external_api", "doorbell")[0] >= 2, SECONDS, "two probes")
    silent_since = returned_at(cluster)
    cluster.fleet.start("external_api", "services.worker", ("external_api",))
    comes_back(cluster)
    assert before == silent_since
