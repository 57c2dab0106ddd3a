"""How a pool finds out that a connection is dead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool

from services import sessions
from services.adapters.postgres import open_pool
from tests.integration.adapters.conftest import World


@pytest.fixture
def pool(world: World) -> Iterator[ConnectionPool[Connection[Any]]]:
    with open_pool(world.url, "sessions", max_size=1, timeout_seconds=10.0) as opened:
        yield opened


def _kill(world: World, pool: ConnectionPool[Connection[Any]]) -> int:
    """End the pool's only connection from outside; returns its backend."""
    with pool.connection() as connection:
        backend = connection.info.backend_pid
    assert world.rows("SELECT pg_terminate_backend(%s, 5000)", backend) == [(True,)]
    return backend


def test_a_connection_that_died_long_ago_is_given_to_nobody(
    world: World, pool: ConnectionPool[Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked, found dead and replaced."""
    monkeypatch.setattr(sessions, "ASKED_AFTER_SECONDS", 0.0)
    dead = _kill(world, pool)
    with pool.connection() as connection:
        assert connection.execute("SELECT pg_backend_pid() <> %s", (dead,)).fetchone() == (True,)


def test_one_that_has_just_answered_is_not_asked(
    world: World, pool: ConnectionPool[Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it died since, it fails once, and is replaced then."""
    monkeypatch.setattr(sessions, "ASKED_AFTER_SECONDS", 60.0)
    dead = _kill(world, pool)
    with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
        connection.execute("SELECT 1")
    with pool.connection() as connection:
        assert connection.execute("SELECT pg_backend_pid() <> %s", (dead,)).fetchone() == (True,)
