"""The real services that the fault tools stand in front of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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


@pytest.fixture
def database_url(postgres: PrivatePostgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url
