"""The whole system on a broker that lets nobody in without a certificate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.cluster import Cluster, running_cluster
from tests.support.fleet import doorbell_node
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="package")
def node(authority: Authority) -> Iterator[PrivateRabbitMQ]:
    with doorbell_node(authority) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with postgres.database() as url, running_cluster(node, url, directory) as running:
        yield running
