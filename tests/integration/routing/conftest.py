"""One private node for these tests, with nothing but the topology before each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from routing.verify import differences
from tests.support.broker import TOPOLOGY, administrator, empty, fill
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def node() -> Iterator[PrivateRabbitMQ]:
    """A running node, in whatever state the last test left it."""
    with PrivateRabbitMQ() as running:
        yield running


@pytest.fixture
def broker(node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """The node with nothing but the complete definitions; messages of earlier tests may be there."""
    if differences(TOPOLOGY, administrator(node)):
        empty(node)
        fill(node)
    return node


@pytest.fixture
def fresh_broker(node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """The node with nothing but the complete definitions, and no message."""
    empty(node)
    fill(node)
    return node
