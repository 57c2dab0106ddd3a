"""A chord's leaves are counted under a lock: the body fires once, whoever commits when."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
from celery import group
from celery.app.task import Context

from services.celery_app import DoorbellApp
from services.ledger import store
from services.ledger.settle import settle
from services.ledger.unit import Unit
from tests.integration.ledger.conftest import Database
from tests.integration.ledger.steps import TASK, commit, declare, leaf, plan_steps, result_of

ROUNDS = 60


def test_two_siblings_that_commit_at_once_fire_the_body_once(
    database: Database, offline: DoorbellApp
) -> None:
    """Two threads released together, many times: each join fires once, with both results."""
    barrier = threading.Barrier(2)
    joins = [f"join-{number}" for number in range(ROUNDS)]
    with database.connect() as connection:
        for join_id in joins:
            declare(connection, offline, join_id, 2)

    def sibling(position: int) -> list[str]:
        fired: list[str] = []
        with database.connect() as connection:
            for join_id in joins:
                barrier.wait(30)
                unit = leaf(offline, join_id, f"{join_id}-{position}", position)
                settled = commit(connection, offline, [unit])
                fired += [message.body for message in settled.messages]
        return fired

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(sibling, (0, 1))
    assert len(first) + len(second) == ROUNDS
    assert all(body.startswith("[[[0, 1]]") for body in [*first, *second])
    assert database.value("SELECT count(*) FROM join_point WHERE state = 'fired'") == ROUNDS


def _interleaved(database: Database, app: DoorbellApp) -> int:
    """The second sibling counts while the first has counted but not committed."""
    with (
        database.connect() as first,
        database.connect() as second,
        ThreadPoolExecutor(1) as thread,
    ):
        declare(first, app, "join", 2)
        fired = settle(first, app, [leaf(app, "join", "a")], {}).fired
        other: Future[int] = thread.submit(
            lambda: commit(second, app, [leaf(app, "join", "b", 1)]).fired
        )
        with pytest.raises(TimeoutError):
            other.result(0.3)
        first.commit()
        return fired + other.result(30)


def test_a_sibling_waits_for_the_one_that_counts(database: Database, offline: DoorbellApp) -> None:
    """The lock holds the second until the first has committed; it then completes the join."""
    assert _interleaved(database, offline) == 1


def test_without_the_lock_a_body_is_missed(
    database: Database, offline: DoorbellApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: counted without the lock, both see one leaf and nobody fires."""
    unlocked = (
        "SELECT id, size + grown AS size, header, state FROM join_point WHERE id = ANY(%(ids)s)"
    )
    with database.connect() as connection:
        declare(connection, offline, "join", 2)
    monkeypatch.setitem(store._SQL, "declare_joins", unlocked)
    with database.connect() as first, database.connect() as second:
        fired = settle(first, offline, [leaf(offline, "join", "a")], {}).fired
        fired += settle(second, offline, [leaf(offline, "join", "b", 1)], {}).fired
        first.commit()
        second.commit()

    assert fired == 0
    assert database.value("SELECT count(*) FROM join_part") == 2


def test_lists_that_share_joins_in_opposite_order_do_not_deadlock(
    database: Database, offline: DoorbellApp
) -> None:
    """Two pools commit lists with leaves of the same joins: none is chosen as a deadlock's victim."""
    barrier = threading.Barrier(2)
    rounds = [[f"{number}-{name}" for name in "abcd"] for number in range(10)]
    with database.connect() as connection:
        for join_id in (join_id for joins in rounds for join_id in joins):
            declare(connection, offline, join_id, 2)

    def pool(number: int) -> int:
        fired = 0
        with database.connect() as connection:
            for joins in rounds:
                ordered = joins if number else joins[::-1]
                units = [leaf(offline, join, f"{join}-{number}", number) for join in ordered]
                barrier.wait(30)
                fired += commit(connection, offline, units).fired
        return fired

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(pool, (0, 1))) == 40


def test_a_redelivered_leaf_counts_once(database: Database, offline: DoorbellApp) -> None:
    """The same leaf again, alone or twice in one list, is not taken for its sibling."""
    with database.connect() as connection:
        declare(connection, offline, "join", 2)
        assert commit(connection, offline, [leaf(offline, "join", "a")]).fired == 0
        again = [leaf(offline, "join", "a"), leaf(offline, "join", "a")]
        assert commit(connection, offline, again).fired == 0
        assert commit(connection, offline, [leaf(offline, "join", "b", 1)]).fired == 1
        assert commit(connection, offline, [leaf(offline, "join", "b", 1)]).fired == 0


def test_a_size_that_is_known_after_the_first_leaves(
    database: Database, offline: DoorbellApp
) -> None:
    """Leaves may end before the sender has said how many there are; the last one fires."""
    with database.connect() as connection:
        assert commit(connection, offline, [leaf(offline, "join", "a")]).fired == 0
        assert commit(connection, offline, [leaf(offline, "join", "b", 1)]).fired == 0
        declare(connection, offline, "join", 3)
        assert commit(connection, offline, [leaf(offline, "join", "c", 2)]).fired == 1


def test_a_join_that_grows_waits_for_the_new_leaf(database: Database, offline: DoorbellApp) -> None:
    """`Task.add_to_chord` in the last leaf keeps the body back until the added one is there."""
    with database.connect() as connection:
        declare(connection, offline, "join", 1)
        unit = leaf(offline, "join", "a")
        unit.join_growth["join"] = 1
        assert commit(connection, offline, [unit]).fired == 0
        assert commit(connection, offline, [leaf(offline, "join", "b", 1)]).fired == 1


def test_a_failed_header_blocks_its_body_until_the_leaf_is_replayed(
    database: Database, offline: DoorbellApp
) -> None:
    """One failure blocks; the replayed leaf replaces it and the body fires after all, once."""
    with database.connect() as connection:
        declare(connection, offline, "join", 2)
        commit(connection, offline, [leaf(offline, "join", "a")])
        failed = commit(connection, offline, [leaf(offline, "join", "b", 1, failed=True)])
        assert failed.messages == []
        assert database.value("SELECT state FROM step WHERE id = 'join-body'") == "blocked"

        replayed = commit(connection, offline, [leaf(offline, "join", "b", 1)])
        assert [message.step_id for message in replayed.messages] == ["join-body"]
        assert commit(connection, offline, [leaf(offline, "join", "b", 1)]).messages == []


def test_a_body_that_cannot_be_sent_fails_and_its_leaves_stay_done(
    database: Database, offline: DoorbellApp
) -> None:
    """Results that are too large together fail the body with the reason, as with Celery's Redis."""
    with database.connect() as connection:
        declare(connection, offline, "join", 2)
        for position, step_id in enumerate(("a", "b")):
            unit = leaf(offline, "join", step_id, position)
            large = f'"{"x" * 40_000}"'
            part = unit.parts[0]
            unit.parts[0] = type(part)(part.join_id, step_id, position, "SUCCESS", large, part.body)
            settled = commit(connection, offline, [unit])

        assert settled.messages == []
    states = dict(database.rows("SELECT id, status FROM step"))
    assert states == {"a": "SUCCESS", "b": "SUCCESS", "join-body": "FAILURE"}
    assert "pass ids instead of values" in str(offline.AsyncResult("join-body").result)


def test_a_planned_body_that_cannot_be_sent_ends_its_workflow(
    database: Database, offline: DoorbellApp
) -> None:
    """The body is dead with the reason, what is behind it blocked, and the workflow dead."""
    workflow_id = database.add_workflow()
    after = {"a": (), "b": (), "join-body": ("a", "b"), "last": ("join-body",)}
    with database.connect() as connection:
        plan_steps(connection, workflow_id, after)
        declare(connection, offline, "join", 2)
        for position, step_id in enumerate(("a", "b")):
            unit = leaf(offline, "join", step_id, position)
            unit.parts = [replace(unit.parts[0], result=f'"{"x" * 40_000}"')]
            settled = commit(connection, offline, [unit], workflow_id)

    assert settled.workflows == [(workflow_id, "dead")]
    rows = database.rows("SELECT id, state, reason FROM step WHERE id IN ('join-body', 'last')")
    assert sorted(rows) == [("join-body", "dead", "too_large"), ("last", "blocked", None)]


def test_a_group_at_the_end_of_a_failed_chain_counts_for_all_its_leaves(
    database: Database, offline: DoorbellApp
) -> None:
    """chord([chain(a, group(b, c)), d], body): Celery fails the group as if it were one leaf of the three."""
    body = dict(offline.signature(TASK, task_id="join-body"))
    inner = group(offline.signature(TASK, task_id=i) for i in ("b", "c"))
    element = {**inner, "options": {"task_id": "group", "group_id": "join", "chord": body}}
    request = Context({"id": "a", "chain": [element], "root_id": "a", "delivery_info": {}})
    failing = Unit("a", results={"a": result_of("a", "FAILURE")})
    with failing.active():
        offline.backend.mark_as_failure("a", ValueError("no"), request=request)
    with database.connect() as connection:
        declare(connection, offline, "join", 3)
        commit(connection, offline, [leaf(offline, "join", "d")])
        commit(connection, offline, [failing], state="dead")

    assert database.value("SELECT state FROM join_point") == "blocked"
    assert "Dependency" in str(offline.AsyncResult("join-body").result)


def test_many_leaves_at_once(database: Database, offline: DoorbellApp) -> None:
    """A header of a hundred leaves in four threads' lists fires once, with its results in order."""
    join_id = str(uuid4())
    with database.connect() as connection:
        declare(connection, offline, join_id, 100)

    def part(number: int) -> list[str]:
        units: list[Unit] = [
            leaf(offline, join_id, f"{join_id}-{i}", i) for i in range(number, 100, 4)
        ]
        with database.connect() as connection:
            settled = commit(connection, offline, units)
        return [message.body for message in settled.messages]

    with ThreadPoolExecutor(4) as threads:
        bodies = [body for found in threads.map(part, range(4)) for body in found]
    assert len(bodies) == 1
    assert bodies[0].startswith(f"[[{list(range(100))}]")
