"""One broker with the whole topology, one PostgreSQL, and a gateway a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gateway.door import Door, add_tenants, opened_door
from tests.support.fleet import with_the_topology
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package")
def session_door(postgres: PrivatePostgres) -> Iterator[Door]:
    """A gateway without a broker, for tests that leave it as they found it."""
    with postgres.database() as url:
        add_tenants(url)
        with opened_door(url) as opened:
            yield opened


@pytest.fixture
def door(postgres: PrivatePostgres) -> Iterator[Door]:
    """A gateway of the test's own, without a broker."""
    with postgres.database() as url:
        add_tenants(url)
        with opened_door(url) as opened:
            yield opened
