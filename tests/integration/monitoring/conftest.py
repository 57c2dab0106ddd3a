"""A broker with the topology and nothing else on it, for each module."""

from __future__ import annotations

import pytest

from tests.support.fleet import with_the_topology
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="module")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)
