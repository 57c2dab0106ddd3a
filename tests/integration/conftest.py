"""One RabbitMQ node and one PostgreSQL server for all folders: what is on them, each makes anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """Who needs one takes a database of it."""
    with PrivatePostgres() as running:
        yield running


@pytest.fixture(scope="session")
def session_node() -> Iterator[PrivateRabbitMQ]:
    """To be renewed by whoever takes it: as its last tests left it, or stopped."""
    with PrivateRabbitMQ() as running:
        yield running
