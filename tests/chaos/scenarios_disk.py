"""Scenarios in which the database has no room left."""

from __future__ import annotations

import psycopg

from tests.chaos.scenario import Run, scenario
from tests.support.faults.disk import full, small_disk

_FULL_SECONDS = 15.0
_TOO_MUCH = "CREATE TABLE too_much AS SELECT repeat('x', 1000) FROM generate_series(1, 50000)"


def _nothing_could_be_written(run: Run) -> list[str]:
    return [] if run.kept["refused"] else ["the database could still write on its full disk"]


@scenario("full-database-disk", rate=6, may_hold_off=True, check=_nothing_could_be_written)
def full_database_disk(run: Run) -> None:
    """The disk of PostgreSQL's data and log is full for a while, which may end the server."""
    postgres = run.rig.postgres
    run.supervisor.note("stop", "postgres")
    with small_disk(postgres) as disk:
        run.rig.wait_until_up()
        run.supervisor.note("full disk", "postgres")
        with full(disk, postgres):
            run.pause(_FULL_SECONDS)
            run.kept["refused"] = int(_is_full(run.rig.database_url))
        run.back("postgres")
        run.until_sent(1.0)
        run.rig.wait_until_up()
        run.supervisor.note("stop", "postgres")
    run.back("postgres")


def _is_full(database_url: str) -> bool:
    """Whether a large table finds no room; true also when the server has given up over it."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            connection.execute(_TOO_MUCH)
            connection.rollback()
    except psycopg.OperationalError:
        return True
    return False
