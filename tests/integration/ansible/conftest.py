"""The hosts of the roles' tests: their files are made once, their data for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.ansible.database_hosts import DatabaseHosts


@pytest.fixture(scope="session")
def rendered_hosts() -> Iterator[DatabaseHosts]:
    with DatabaseHosts() as made:
        yield made


@pytest.fixture
def hosts(rendered_hosts: DatabaseHosts) -> Iterator[DatabaseHosts]:
    """Hosts without data; nothing runs on them."""
    yield rendered_hosts
    rendered_hosts.clear()
