"""How a pool finds out that a connection is dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg_pool import ConnectionPool

from services import sessions
from services.adapters.connections import Connections, open_pool
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


def test_one_connection_serves_transactions_and_single_statements(
    world: World, pool: ConnectionPool[Connection[Any]]
) -> None:
    """By turns: what commits by itself stays, what is broken off with its transaction does not."""
    connections = Connections(pool)
    insert = "INSERT INTO tenant (id, name) VALUES (%s, 'x')"

    def break_off(lend: Callable[[], AbstractContextManager[Connection[Any]]], name: str) -> None:
        with lend() as connection:
            connection.execute(insert, (name,))
            raise LookupError

    for number in range(2):
        for lend, kind in (
            (connections.direct, "direct"),
            (connections.transaction, "transaction"),
        ):
            with pytest.raises(LookupError):
                break_off(lend, f"{kind}-{number}")
    kept = world.rows("SELECT id FROM tenant WHERE id ~ 'direct|transaction' ORDER BY id")
    assert kept == [("direct-0",), ("direct-1",)]


@pytest.mark.parametrize("kind", ["direct", "transaction"])
def test_a_lost_connection_is_said_to_be_lost(
    pool: ConnectionPool[Connection[Any]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """And not that somebody is in a transaction: that would be a bug, and this is waited for."""
    monkeypatch.setattr(sessions, "ASKED_AFTER_SECONDS", 60.0)
    connections = Connections(pool)
    with connections.direct() as connection:
        connection.execute("SELECT 1")
    connection.pgconn.finish()
    lend = connections.direct if kind == "direct" else connections.transaction
    with pytest.raises(psycopg.OperationalError), lend():
        pass
    with lend() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
