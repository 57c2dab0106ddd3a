"""More logins than the pools take: batches are accepted without steps, which they get when there is room."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from services.gateway import outbox, parts, planner
from tests.integration.gateway.door import Door, login, opened_door, wait_until

STEPS_OF = "SELECT count(*) FROM step WHERE workflow_id = %s"
IS_WHOLE = """
    SELECT count(*) = count(*) FILTER (WHERE position = row_number - 1)
    FROM (SELECT position, row_number() OVER (PARTITION BY workflow_id ORDER BY position) FROM step) AS numbered
"""
PLANNED = "SELECT count(DISTINCT workflow_id) FROM step"
ROOM_MADE = "UPDATE step SET state = 'parked' WHERE state = 'ready'"


@pytest.fixture(autouse=True)
def small_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four waiting logins are a flood, and once none waits, three more are planned."""
    monkeypatch.setattr(parts, "MOST_WAITING", 4)
    monkeypatch.setattr(parts, "FEW_WAITING", 0)
    monkeypatch.setattr(planner, "PORTION", 3)


@pytest.fixture
def flooded(door: Door) -> Door:
    """A gateway behind which four logins wait, which no pool takes."""
    assert door.report_batch(*(login() for _ in range(4))).status_code == 200
    wait_until(lambda: door.parts.backlog.is_flooded)
    return door


def test_a_batch_is_accepted_without_steps(flooded: Door) -> None:
    """Its workflows are there, are read, and are found by their keys; no step was made."""
    logins = [login(), login()]
    first = flooded.report_batch(*logins)
    assert first.status_code == 200
    ids = [result["workflow_id"] for result in first.json()["results"]]
    again = flooded.report_batch(*logins).json()["results"]
    assert [result["workflow_id"] for result in again] == ids
    for workflow in ids:
        assert flooded.rows(STEPS_OF, workflow) == [(0,)]
        read = flooded.read(f"/v1/workflows/{workflow}").json()
        assert (read["state"], read["steps"]) == ("accepted", [])
    assert flooded.count("unplanned_workflow") == 2


def test_a_login_of_its_own_does_not_wait_behind_the_flood(flooded: Door) -> None:
    assert flooded.report_batch(login(), login()).status_code == 200
    alone = flooded.report(login()).json()["workflow_id"]
    [(steps,)] = flooded.rows(STEPS_OF, alone)
    assert steps > 0


def test_steps_come_when_there_is_room_the_oldest_first(flooded: Door) -> None:
    """As many as there is room for; what follows waits on, also behind what a batch brings later."""
    ids = [
        result["workflow_id"]
        for _ in range(5)
        for result in flooded.report_batch(login()).json()["results"]
    ]
    wait_until(lambda: flooded.parts.backlog.unplanned == 5)
    assert flooded.rows(PLANNED) == [(4,)]
    flooded.rows(ROOM_MADE)
    wait_until(lambda: flooded.rows(PLANNED) == [(7,)])
    assert flooded.report_batch(login()).status_code == 200
    assert [flooded.rows(STEPS_OF, workflow)[0][0] > 0 for workflow in ids] == [True] * 3 + [
        False
    ] * 2
    flooded.rows(ROOM_MADE)
    wait_until(lambda: flooded.rows(PLANNED) == [(10,)])
    assert flooded.rows(IS_WHOLE) == [(True,)]
    assert flooded.count("unplanned_workflow") == 0
    wait_until(lambda: not flooded.parts.backlog.unplanned)


def test_many_gateways_plan_each_login_once(
    flooded: Door, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the logins that another gateway has accepted."""
    assert flooded.report_batch(*(login() for _ in range(60))).status_code == 200
    monkeypatch.setattr(planner, "LIST_SIZE", 2)
    monkeypatch.setattr(parts, "FEW_WAITING", 1_000)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(opened_door(database_url))
        wait_until(lambda: flooded.rows(PLANNED) == [(64,)])
    [(steps,)] = flooded.rows("SELECT count(*) FROM step")
    assert steps == 64 * flooded.rows("SELECT max(position) + 1 FROM step")[0][0]
    assert flooded.rows(IS_WHOLE) == [(True,)]


def test_what_a_dead_gateway_has_left_is_planned(database_url: str) -> None:
    """Whoever plans next finds it in the ledger."""
    with opened_door(database_url) as door:
        assert door.report_batch(*(login() for _ in range(4))).status_code == 200
        wait_until(lambda: door.parts.backlog.is_flooded)
        assert door.report_batch(login(), login()).status_code == 200
        assert door.rows(PLANNED) == [(4,)]
        door.parts.planner.stop()
        door.rows(ROOM_MADE)
        wait_until(lambda: door.parts.backlog.unplanned == 2)
    with opened_door(database_url) as other:
        wait_until(lambda: other.rows(PLANNED) == [(6,)])


def test_a_flood_has_an_end(flooded: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound logins are refused, with word to come again; below it they are taken as before."""
    monkeypatch.setattr(outbox, "MAX_UNPLANNED", 1)
    assert flooded.report_batch(login(), login()).status_code == 200
    wait_until(lambda: flooded.parts.backlog.is_full)
    refused = flooded.report_batch(login())
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    assert flooded.read("/readyz").status_code == 503
    flooded.rows(ROOM_MADE)
    wait_until(lambda: not flooded.parts.backlog.is_full)
    assert flooded.report_batch(login()).status_code == 200
