"""The database's disk fills up, and is freed again."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.faults.disk import full, small_disk
from tests.support.postgres import PrivatePostgres

_INSERT = "INSERT INTO tenant (id, name) SELECT g::text, repeat('x', 500) FROM generate_series(%s::int, %s) g"


@pytest.fixture
def own_postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres() as running:
        yield running


def _count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM tenant").fetchone()
        assert row is not None
        return int(row[0])


def _insert(url: str, first: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_INSERT, (first, first + 9_999))


def _insert_many(url: str) -> None:
    for first in range(10_000, 1_000_000, 10_000):
        _insert(url, first)


def test_a_full_disk_stops_writing_and_loses_nothing(own_postgres: PrivatePostgres) -> None:
    """Writers get an error, readers or a restart all that was committed, and then writing goes on."""
    with own_postgres.database() as url:
        with small_disk(own_postgres, spare_megabytes=128) as disk:
            _insert(url, 0)
            with full(disk, own_postgres), pytest.raises(psycopg.OperationalError):
                _insert_many(url)
            there = _count(url)
            assert there >= 10_000
            assert there % 10_000 == 0
            _insert(url, 2_000_000)
        assert _count(url) == there + 10_000
