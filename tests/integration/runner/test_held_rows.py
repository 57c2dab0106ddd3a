"""Rows that a frozen or cut-off process holds locked hold up nobody else's steps."""

from __future__ import annotations

import psycopg
import pytest

from tests.integration.runner.conftest import Bench
from tests.integration.runner.test_lists import names


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
        holder.execute(
            "INSERT INTO step (id, task, queue, state, published_at) VALUES (%s, %s, %s, 'ready', now())",
            (held_id, task, bench.pool),
        )
        holder.commit()
        holder.execute("SELECT FROM step WHERE id = %s FOR UPDATE", (held_id,))

        bench.send(task, held, task_id=held_id)
        ids = bench.send(task, *others)
        assert bench.ended(ids) == ["done"] * 20
        assert bench.ran(held) == 0

    assert bench.ended([held_id]) == ["done"]
    assert bench.ran(held) == 1
    assert [bench.ran(item) for item in others] == [1] * 20
