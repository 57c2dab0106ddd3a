"""Workflows end once, when none of their steps can go on; what is behind a failure is blocked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from services.celery_app import DoorbellApp
from services.ledger import store
from services.ledger.unit import Unit
from tests.integration.ledger.conftest import Database
from tests.integration.ledger.steps import commit, declare, leaf, plan_steps, result_of

ROUNDS = 40


def ended(step_id: str, status: str = "SUCCESS") -> Unit:
    return Unit(step_id, results={step_id: result_of(step_id, status)})


def states(database: Database, workflow_id: UUID) -> dict[str, str]:
    rows = database.rows("SELECT id, state FROM step WHERE workflow_id = %s", workflow_id)
    return {str(step_id): str(state) for step_id, state in rows}


def state_of(database: Database, workflow_id: UUID) -> str:
    return str(database.value("SELECT state FROM workflow WHERE id = %s", workflow_id))


def test_two_last_steps_at_once_end_the_workflow_once(
    database: Database, offline: DoorbellApp
) -> None:
    """Two threads released together, many times: exactly one of them ends the workflow."""
    barrier = threading.Barrier(2)
    workflows = [database.add_workflow() for _ in range(ROUNDS)]
    with database.connect() as connection:
        for workflow_id in workflows:
            plan_steps(connection, workflow_id, {f"{workflow_id}-0": (), f"{workflow_id}-1": ()})

    def last(number: int) -> list[tuple[UUID, str]]:
        found: list[tuple[UUID, str]] = []
        with database.connect() as connection:
            for workflow_id in workflows:
                barrier.wait(30)
                settled = commit(
                    connection, offline, [ended(f"{workflow_id}-{number}")], workflow_id
                )
                found += settled.workflows
        return found

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(last, (0, 1))
    assert sorted([*first, *second]) == sorted((w, "done") for w in workflows)


def test_without_the_lock_no_step_is_the_last(
    database: Database, offline: DoorbellApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: neither sees the other's commit, and the workflow never ends."""
    workflow_id = database.add_workflow()
    monkeypatch.setitem(
        store._SQL, "lock_workflows", "SELECT id FROM workflow WHERE id = ANY(%(ids)s)"
    )
    with database.connect() as first, database.connect() as second:
        plan_steps(first, workflow_id, {"a": (), "b": ()})
        for connection, step_id in ((first, "a"), (second, "b")):
            store.store_results(
                connection, [(result_of(step_id), store.Execution("done", None, None))]
            )
        assert store.finish_workflows(first, [workflow_id]) == []
        assert store.finish_workflows(second, [workflow_id]) == []
        first.commit()
        second.commit()

    assert state_of(database, workflow_id) == "accepted"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("done", "done"),
        ("failed", "failed"),
        ("dead", "dead"),
    ],
)
def test_the_worst_step_names_the_end(
    database: Database, offline: DoorbellApp, last: str, expected: str
) -> None:
    """Dead before failed before done."""
    workflow_id = database.add_workflow()
    with database.connect() as connection:
        plan_steps(connection, workflow_id, {"a": (), "b": (), "c": ()})
        commit(connection, offline, [ended("a")], workflow_id)
        if last == "dead":
            commit(connection, offline, [ended("b", "FAILURE")], workflow_id, "failed")
        else:
            commit(connection, offline, [ended("b")], workflow_id)
        assert state_of(database, workflow_id) == "accepted"
        status = "SUCCESS" if last == "done" else "FAILURE"
        settled = commit(connection, offline, [ended("c", status)], workflow_id, last)

    assert settled.workflows == [(workflow_id, expected)]
    assert state_of(database, workflow_id) == expected


def test_what_is_behind_a_failed_step_is_blocked_and_nothing_else(
    database: Database, offline: DoorbellApp
) -> None:
    """To any depth, but not a sibling's branch and not another workflow's steps."""
    one, other = database.add_workflow(), database.add_workflow()
    with database.connect() as connection:
        plan_steps(
            connection,
            one,
            {"a": (), "b": ("a",), "c": ("b",), "sibling": (), "after-sibling": ("sibling",)},
        )
        plan_steps(connection, other, {"x": (), "y": ("x",)})
        commit(connection, offline, [ended("a", "FAILURE")], one, "dead")

    assert states(database, one) == {
        "a": "dead",
        "b": "blocked",
        "c": "blocked",
        "sibling": "planned",
        "after-sibling": "planned",
    }
    assert states(database, other) == {"x": "planned", "y": "planned"}
    assert state_of(database, one) == "accepted"


@pytest.mark.parametrize("failing_first", [True, False])
def test_a_failed_header_ends_the_workflow_whoever_commits_last(
    database: Database, offline: DoorbellApp, failing_first: bool
) -> None:
    """The body and what is behind it are blocked, also when the failing member completes the join."""
    workflow_id = database.add_workflow()
    good = leaf(offline, "join", "good")
    bad = leaf(offline, "join", "bad", 1, failed=True)
    with database.connect() as connection:
        declare(connection, offline, "join", 2)
        plan_steps(
            connection,
            workflow_id,
            {
                "good": (),
                "bad": (),
                "join-body": ("good", "bad"),
                "behind": ("join-body",),
                "far": ("behind",),
            },
        )
        for unit in (bad, good) if failing_first else (good, bad):
            state = "failed" if unit is bad else "done"
            commit(connection, offline, [unit], workflow_id, state)

    found = states(database, workflow_id)
    assert found == {
        "good": "done",
        "bad": "failed",
        "join-body": "blocked",
        "behind": "blocked",
        "far": "blocked",
    }
    assert state_of(database, workflow_id) == "failed"


def test_a_canvas_that_has_replaced_a_step_fails_for_it(
    database: Database, offline: DoorbellApp
) -> None:
    """Celery fails the replaced step on behalf of the one that broke; what was planned behind it is blocked."""
    workflow_id = database.add_workflow()
    with database.connect() as connection:
        plan_steps(connection, workflow_id, {"replaced": (), "behind": ("replaced",)})
        broken = Unit(
            "inner", results={name: result_of(name, "FAILURE") for name in ("inner", "replaced")}
        )
        settled = commit(connection, offline, [broken], workflow_id, state="dead")

    assert states(database, workflow_id) == {"replaced": "blocked", "behind": "blocked"}
    assert [workflow for workflow, _ in settled.workflows] == [workflow_id]
