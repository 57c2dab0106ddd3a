"""One private node for these tests, with nothing but the topology before each of them."""

from __future__ import annotations

import pytest

from routing.verify import differences
from tests.support.broker import TOPOLOGY, administrator, fill
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """A running node, in whatever state the last test left it."""
    session_node.renew({})
    return session_node


@pytest.fixture
def broker(node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """The node with nothing but the complete definitions; messages of earlier tests may be there."""
    if differences(TOPOLOGY, administrator(node)):
        node.empty()
        fill(node)
    return node


@pytest.fixture
def fresh_broker(node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """The node with nothing but the complete definitions, and no message."""
    node.empty()
    fill(node)
    return node
