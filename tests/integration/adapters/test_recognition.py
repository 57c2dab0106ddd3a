"""Recognition does on a real PostgreSQL what deploy/recognition.md says, and that is nothing wrong."""

from __future__ import annotations

import pytest

from services.sessions import Session
from tests.bench.recognition import TABLE, render, replay, user_agents
from tests.support.postgres import PrivatePostgres


@pytest.mark.timeout(240)
def test_each_change_of_device_is_told_and_nothing_else(postgres: PrivatePostgres) -> None:
    """Every pair of several hundred real user agents."""
    with postgres.database() as url, Session.connect(url) as connection:
        rows = replay(connection)
    assert {row.sort: row.wrong for row in rows if row.wrong} == {}
    assert render(rows, len(user_agents())) == TABLE.read_text()
