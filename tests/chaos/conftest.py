"""One running cluster for the tests of the main workflow; each test has users of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, running_cluster
from tests.support.fleet import doorbell_node
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
def cluster(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with (
        postgres.database() as url,
        running_cluster(node, url, tmp_path_factory.mktemp("cluster")) as running,
    ):
        yield running
