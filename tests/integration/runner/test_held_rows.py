"""Rows that a frozen or cut-off process holds locked hold up nobody else's steps."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.support.fleet import wait_until

_WAITING = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def hold(holder: psycopg.Connection[Any], step_id: str, task: str, queue: str) -> None:
    """Write a step's row, and keep it locked until `holder` ends its transaction."""
    holder.execute(
        "INSERT INTO step (id, task, queue, state, published_at) VALUES (%s, %s, %s, 'ready', now())",
        (step_id, task, queue),
    )
    holder.commit()
    holder.execute("SELECT FROM step WHERE id = %s FOR UPDATE", (step_id,))


@pytest.mark.parametrize(
    ("style", "task"),
    [("batch", "try.batch"), ("io", "try.call"), ("io", "try.batch")],
    ids=["list", "call", "list among calls"],
)
def test_neighbours_go_on(request: pytest.FixtureRequest, style: str, task: str) -> None:
    """A step whose row is held waits, alone, and is done once it is let go."""
    bench: Bench = request.getfixturevalue(style)
    (held_id,), (held,) = names("id"), names("ok")
    others = names("ok", 20)
    with psycopg.connect(bench.database_url) as holder:
        hold(holder, held_id, task, bench.pool)

        bench.send(task, held, task_id=held_id)
        ids = bench.send(task, *others)
        assert bench.ended(ids) == ["done"] * 20
        assert bench.ran(held) == 0

    assert bench.ended([held_id]) == ["done"]
    assert bench.ran(held) == 1
    assert [bench.ran(item) for item in others] == [1] * 20


@pytest.mark.parametrize(
    ("style", "task"), [("batch", "try.batch"), ("io", "try.call")], ids=["list", "call"]
)
def test_a_soft_limit_does_not_begin_while_the_row_is_waited_for(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """However short it is: the step runs when it can, and its process goes on."""
    bench: Bench = request.getfixturevalue(style)
    (held_id,), (held,) = names("id"), names("ok")
    starts = len(bench.lines("start"))
    with psycopg.connect(bench.database_url) as holder:
        hold(holder, held_id, task, bench.pool)
        bench.send(task, held, task_id=held_id, soft_time_limit=0.5, time_limit=10)
        wait_until(lambda: bench.rows(_WAITING), SECONDS, "it waits for the row")
        wait_until(lambda: not bench.rows(_WAITING), SECONDS, "it waits no longer")

    assert bench.ended([held_id]) == ["done"]
    assert bench.ran(held) == 1
    assert len(bench.lines("start")) == starts
