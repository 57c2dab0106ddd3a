"""Migrations beside a fleet that is at work."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import psycopg
import pytest

from services.cli.migrations import DIRECTORY, migrate, pending
from services.domain.errors import Unavailable
from tests.support.fleet import wait_until

_WAITING = """
SELECT count(*) FROM pg_locks
WHERE relation = 'step'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The migrations, and one more that needs a table for itself."""
    directory = copytree(DIRECTORY, tmp_path / "migrations")
    (directory / "9999.more.sql").write_text("ALTER TABLE step ADD COLUMN more integer;\n")
    return directory


@contextmanager
def _in_use(url: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) FROM step")
        yield


def _waits(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(_WAITING).fetchone()
        return bool(row and row[0])


def test_nobody_waits_long_behind_a_migration_that_waits(
    database_url: str, directory: Path
) -> None:
    """While a long transaction holds a table, others get at it; when it ends, the migration is applied."""
    with ThreadPoolExecutor(1) as threads:
        with _in_use(database_url):
            migrating = threads.submit(migrate, database_url, directory)
            for _ in range(2):
                wait_until(lambda: _waits(database_url))
                with psycopg.connect(database_url, options="-c lock_timeout=3000") as another:
                    another.execute("SELECT count(*) FROM step")
            assert not migrating.done()
        assert migrating.result(30) == ["9999.more"]
    assert not pending(database_url, directory)


def test_patience_ends_with_what_to_do(database_url: str, directory: Path) -> None:
    """What holds the table is told how to be found, and nothing was changed."""
    with _in_use(database_url), pytest.raises(Unavailable, match="pg_stat_activity"):
        migrate(database_url, directory, patience_seconds=0.0)
    assert pending(database_url, directory) == ["9999.more"]
