"""The proxy in front of PostgreSQL cuts commits on the side that was asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psycopg
import pytest

from tests.support.faults.commits import CommitCutter, Side
from tests.support.postgres import PrivatePostgres


def _insert(connection: psycopg.Connection[Any], protocol: AbstractContextManager[object]) -> None:
    with protocol:
        connection.execute("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        connection.commit()


def _through(url: str, postgres: PrivatePostgres, cutter: CommitCutter) -> str:
    return url.replace(f":{postgres.port}/", f":{cutter.port}/")


def _names(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT id FROM tenant ORDER BY id")]


@pytest.mark.parametrize("pipelined", [False, True], ids=["simple query", "pipeline"])
@pytest.mark.parametrize(("side", "kept"), [("before", []), ("after", ["shop"])])
def test_a_cut_commit_is_ambiguous_for_the_client_only(
    postgres: PrivatePostgres, database_url: str, side: Side, kept: list[str], pipelined: bool
) -> None:
    """The client gets the same error; the row is there exactly when the server had the COMMIT."""
    with CommitCutter(postgres.port) as cutter:
        cutter.cut_commits(every=1, sides=(side,))
        connection = psycopg.connect(_through(database_url, postgres, cutter))
        with pytest.raises(psycopg.OperationalError) as raised:
            _insert(connection, connection.pipeline() if pipelined else nullcontext())
        connection.close()

        assert raised.value.sqlstate is None
        assert cutter.cuts == {side: 1}
    assert _names(database_url) == kept


def test_every_nth_commit_is_cut_and_the_same_ones_for_the_same_seed(
    postgres: PrivatePostgres, database_url: str
) -> None:
    """A scenario can be run again: which commits are lost depends on the seed alone."""
    with CommitCutter(postgres.port) as cutter:
        fates = [_fates(_through(database_url, postgres, cutter), cutter, 7) for _ in range(2)]

    assert fates[0] == fates[1]
    assert fates[0][0::3] == fates[0][1::3] == ["committed"] * 4
    assert set(fates[0][2::3]) == {"before", "after"}


def _fates(url: str, cutter: CommitCutter, seed: int) -> list[str]:
    cutter.commits = 0
    cutter.cut_commits(every=3, seed=seed)
    fates = []
    for _ in range(12):
        before = cutter.cuts.copy()
        try:
            with psycopg.connect(url) as connection:
                connection.execute("SELECT 1")
            fates.append("committed")
        except psycopg.OperationalError:
            fates.extend(cutter.cuts - before)
    cutter.pass_commits()
    return fates
