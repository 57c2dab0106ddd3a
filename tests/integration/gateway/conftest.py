"""A gateway a test, with a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gateway.door import Door, add_tenants, opened_door
from tests.support.postgres import PrivatePostgres


@pytest.fixture
def database_url(postgres: PrivatePostgres) -> Iterator[str]:
    with postgres.database() as url:
        add_tenants(url)
        yield url


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    """A gateway without a broker: what it accepts waits in the ledger."""
    with opened_door(database_url) as opened:
        yield opened
