"""One running cluster with an outlier API that the tests adjust; each test has users of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, running_cluster
from tests.support.fleet import doorbell_node
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def node() -> Iterator[PrivateRabbitMQ]:
    with doorbell_node() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres() as running:
        yield running


@pytest.fixture(scope="session")
def adjustable() -> Iterator[AdjustableOutlierApi]:
    with AdjustableOutlierApi() as running:
        yield running


@pytest.fixture(scope="session")
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
    """The cluster with a closed breaker, an API that answers well, and a beat.

    A beat ends when PostgreSQL goes, as an outage test makes it; here the test
    starts it again in its supervisor's place.
    """
    fleet = session_cluster.fleet
    beats = [fleet.processes.get(name) for name in ("beat", "second beat")]
    if not any(beat is not None and beat.poll() is None for beat in beats):
        fleet.start("beat", "services.schedule")
    session_cluster.rows("DELETE FROM breaker")
    return session_cluster
