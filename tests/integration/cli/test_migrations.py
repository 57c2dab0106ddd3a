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


_HELD = _WAITING.replace("NOT granted", "granted")


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
    return _counts(url, _WAITING)


def _holds(url: str) -> bool:
    return _counts(url, _HELD)


def _counts(url: str, query: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
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


def test_a_deadlock_with_somebody_at_work_is_only_another_try(
    database_url: str, tmp_path: Path
) -> None:
    """The server ends the migration, for it asked last; it is tried again, and the other one never hears of it."""
    directory = copytree(DIRECTORY, tmp_path / "migrations")
    (directory / "9999.more.sql").write_text(
        "SET LOCAL deadlock_timeout = '10ms';\nSET LOCAL lock_timeout = '30s';\n"
        "ALTER TABLE step ADD COLUMN more integer;\nSELECT pg_sleep(0.5);\n"
        "ALTER TABLE device ADD COLUMN more integer;\n"
    )
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database_url) as working:
        working.execute("SELECT count(*) FROM device")
        migrating = threads.submit(migrate, database_url, directory)
        wait_until(lambda: _holds(database_url))
        working.execute("SELECT count(*) FROM step")
        working.commit()
        assert migrating.result(30) == ["9999.more"]
    assert not pending(database_url, directory)


def test_patience_ends_with_what_to_do(database_url: str, directory: Path) -> None:
    """What holds the table is told how to be found, and nothing was changed."""
    with _in_use(database_url), pytest.raises(Unavailable, match="pg_stat_activity"):
        migrate(database_url, directory, patience_seconds=0.0)
    assert pending(database_url, directory) == ["9999.more"]


def test_messages_are_compressed_by_what_costs_least(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT attname, attcompression FROM pg_attribute"
            " WHERE attrelid = 'step'::regclass AND attname IN ('message', 'canvas')"
        ).fetchall()
    assert dict(rows) == {"message": "l", "canvas": "l"}
