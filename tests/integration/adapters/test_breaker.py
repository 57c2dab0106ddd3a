"""The fleet's circuit breaker, as several processes see it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import Connection

from services.adapters.breaker import PostgresBreaker
from services.domain.errors import Unavailable
from tests.integration.adapters.conftest import World


def _breaker(world: World) -> PostgresBreaker:
    return PostgresBreaker(world.connect, "outlier_api")


def _open(world: World) -> None:
    for _ in range(5):
        _breaker(world).record_failure()


def _let_time_pass(world: World) -> None:
    world.rows("UPDATE breaker SET open_until = now() - interval '1 second'")


def _is_let_through(world: World) -> bool:
    try:
        _breaker(world).check()
    except Unavailable:
        return False
    return True


def test_it_opens_after_five_failures_in_a_row_for_everybody(world: World) -> None:
    """Failures of any process count together, and all processes see it open."""
    for _ in range(4):
        _breaker(world).record_failure()
        assert _is_let_through(world)
    _breaker(world).record_failure()
    with pytest.raises(Unavailable, match="outlier_api is open"):
        _breaker(world).check()
    ((seconds,),) = world.rows("SELECT extract(epoch FROM open_until - now())::int FROM breaker")
    assert 25 <= seconds <= 30


def test_a_success_starts_the_count_again(world: World) -> None:
    """Only failures in a row open it."""
    for _ in range(4):
        _breaker(world).record_failure()
    _breaker(world).record_success()
    for _ in range(4):
        _breaker(world).record_failure()
    assert _is_let_through(world)


def test_one_probe_of_the_fleet_is_let_through(world: World) -> None:
    """When the time is over, exactly one of many concurrent callers becomes the probe."""
    _open(world)
    _let_time_pass(world)
    start = threading.Barrier(8)

    def ask(_: int) -> bool:
        start.wait(10)
        return _is_let_through(world)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 1


def test_the_probes_failure_keeps_it_open(world: World) -> None:
    """A failed probe means another full time of waiting."""
    _open(world)
    _let_time_pass(world)
    assert _is_let_through(world)
    _breaker(world).record_failure()
    assert not _is_let_through(world)


def test_the_probes_success_closes_it(world: World) -> None:
    """A successful probe lets everybody through again."""
    _open(world)
    _let_time_pass(world)
    assert _is_let_through(world)
    _breaker(world).record_success()
    assert _is_let_through(world)
    assert _is_let_through(world)


def test_what_cannot_be_counted_does_not_undo_the_call(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The API has answered; that nobody could note it is a line in the log, and no reason to call again."""

    @contextmanager
    def read_only() -> Iterator[Connection[Any]]:
        with world.connect() as connection:
            connection.execute("SET TRANSACTION READ ONLY")
            yield connection

    breaker = PostgresBreaker(read_only, "outlier_api")
    breaker.record_success()
    breaker.record_failure()
    assert [record.getMessage().partition(" of ")[0] for record in caplog.records] == [
        "record_success",
        "record_failure",
    ]
