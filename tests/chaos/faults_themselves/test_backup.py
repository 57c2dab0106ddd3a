"""A database that is put back to an earlier moment."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.faults.backup import Backup
from tests.support.postgres import PrivatePostgres


@pytest.fixture
def own_postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres() as running:
        yield running


def _tenants(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT id FROM tenant ORDER BY id")]


def _add(url: str, tenant: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES (%s, 'A name')", (tenant,))


def test_what_came_after_the_backup_is_gone(own_postgres: PrivatePostgres) -> None:
    """Also when it is put back twice, under the same address."""
    with own_postgres.database() as url:
        _add(url, "before")
        backup = Backup(own_postgres)
        try:
            for _ in range(2):
                _add(url, "after")
                assert _tenants(url) == ["after", "before"]
                backup.restore()
                assert _tenants(url) == ["before"]
        finally:
            backup.remove()
