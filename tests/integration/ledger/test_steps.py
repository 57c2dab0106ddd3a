"""A step's row: done stays done, and what is to be published is never taken for published."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from services.celery_app import DoorbellApp
from services.ledger import store
from services.ledger.settle import settle
from services.ledger.unit import StoredResult, Unit
from tests.integration.ledger.conftest import Database
from tests.integration.ledger.steps import commit, message, ran, result_of


def row(database: Database, step_id: str, *columns: str) -> tuple[Any, ...]:
    return database.rows(f"SELECT {', '.join(columns)} FROM step WHERE id = %s", step_id)[0]


def finish(connection: Connection[Any], app: DoorbellApp, step_id: str, status: str) -> None:
    state = "done" if status == "SUCCESS" else "dead"
    unit = Unit(step_id, results={step_id: result_of(step_id, status, f'"{status}"')})
    commit(connection, app, [unit], state=state)


@pytest.mark.parametrize("later", ["FAILURE", "RETRY", "STARTED", "REVOKED"])
def test_done_never_goes_backwards(database: Database, offline: DoorbellApp, later: str) -> None:
    """Whatever is stored after success, by the step or on its behalf, changes nothing."""
    with database.connect() as connection:
        finish(connection, offline, "a", "SUCCESS")
        before = row(database, "a", "*")
        finish(connection, offline, "a", "FAILURE")
        commit(connection, offline, [Unit(results={"a": result_of("a", later, '"late"')})])
        store.make_ready(connection, [(message("a", retries=1), "a", None)])
        connection.commit()

    assert row(database, "a", "*") == before


def test_a_failed_step_can_succeed(database: Database, offline: DoorbellApp) -> None:
    """That is what a replay is for."""
    with database.connect() as connection:
        finish(connection, offline, "a", "FAILURE")
        finish(connection, offline, "a", "SUCCESS")

    assert row(database, "a", "state", "status", "result") == ("done", "SUCCESS", '"SUCCESS"')


def test_a_done_step_keeps_no_message(database: Database, offline: DoorbellApp) -> None:
    """The message is needed until the step is done, and no longer."""
    with database.connect() as connection:
        store.make_ready(connection, [(message("a"), None, None)])
        connection.commit()
        assert row(database, "a", "message IS NULL") == (False,)
        finish(connection, offline, "a", "SUCCESS")

    assert row(database, "a", "message IS NULL") == (True,)


def test_a_confirm_marks_the_message_that_was_confirmed(database: Database) -> None:
    """A retry that was committed meanwhile waits for a confirm of its own.

    Otherwise its sender's death before the publish would lose the step: nobody
    would see that its message never went out.
    """
    first, retry = message("a"), message("a", retries=1)
    with database.connect() as connection:
        store.make_ready(connection, [(first, "before", None)])
        store.make_ready(connection, [(retry, "a", None)])
        store.mark_published(connection, ["a"], [first])
        connection.commit()
        assert row(database, "a", "state", "published_at") == ("retrying", None)
        assert store.unpublished_of(connection, ["a"]) == [retry]

        store.mark_published(connection, ["a"], [retry])
        connection.commit()
        assert store.unpublished_of(connection, ["a"]) == []


def test_marking_is_idempotent_and_leaves_ended_steps_alone(
    database: Database, offline: DoorbellApp
) -> None:
    """The first confirm's time stays; a step that ended meanwhile is not touched."""
    with database.connect() as connection:
        store.make_ready(connection, [(message("a"), None, None), (message("b"), None, None)])
        finish(connection, offline, "b", "FAILURE")
        store.mark_published(connection, ["a", "b", "unknown"])
        connection.commit()
        (at,) = row(database, "a", "published_at")
        store.mark_published(connection, ["a"])
        connection.commit()

    assert at is not None
    assert row(database, "a", "published_at") == (at,)
    assert row(database, "b", "published_at") == (None,)


def test_a_delayed_message_is_noted_with_its_queue_and_time(database: Database) -> None:
    """A native delay's routing key holds both; the row shows what a person asks for."""
    bits = ".".join(f"{5:028b}")
    with database.connect() as connection:
        delayed = message("a", retries=1, queue=f"{bits}.db_writes", exchange="celery_delayed_27")
        store.make_ready(connection, [(delayed, "a", None)])
        connection.commit()

    queue, seconds = row(database, "a", "queue", "extract(epoch FROM due_at - ready_at)")
    assert queue == "db_writes"
    assert float(seconds) == 5.0


def test_what_text_in_postgresql_cannot_hold_is_escaped(
    database: Database, offline: DoorbellApp
) -> None:
    """A traceback quotes what a stranger's server said: NUL and lone surrogates are kept readable."""
    result = StoredResult("a", "FAILURE", "null", "bad \x00 and \udcff", None, None, None, None, 0)
    with database.connect() as connection:
        commit(connection, offline, [Unit("a", results={"a": result})], state="dead")

    assert row(database, "a", "traceback") == ("bad \\x00 and \\udcff",)


def test_a_step_sent_by_hand_appears_once(database: Database) -> None:
    """Its row is made when it is first delivered; a second delivery finds it."""
    delivered = ("a", "hand.add", "db_writes", "root", "parent", 0)
    with database.connect() as connection:
        for _ in range(2):
            rows = store.lock_steps(connection, [delivered])
            connection.commit()
        assert rows["a"]["state"] == "ready"

    assert database.value("SELECT count(*) FROM step") == 1


def test_starts_after_a_redelivery_are_counted(database: Database) -> None:
    """The count survives in the row; an unknown step counts nothing."""
    with database.connect() as connection:
        store.make_ready(connection, [(message("a"), None, None)])
        counts = [store.count_redelivery(connection, "a") for _ in range(3)]
        assert counts == [(1, False), (2, False), (3, False)]
        store.note_hard_limit(connection, "a", "host")
        assert store.count_redelivery(connection, "a") == (4, True)
        assert store.count_redelivery(connection, "unknown") == (0, False)


def test_a_host_is_noted_for_what_it_ran_only(database: Database, offline: DoorbellApp) -> None:
    """Attempts and host belong to executions, not to states written on a step's behalf."""
    with database.connect() as connection:
        store.make_ready(connection, [(message("a"), None, None)])
        unit = Unit("a", results={"a": result_of("a"), "b": result_of("b", "FAILURE")})
        settle(connection, offline, [unit], {"a": ran()})
        connection.commit()

    assert row(database, "a", "state", "host", "attempts") == ("done", "host", 1)
    assert row(database, "b", "state", "host", "attempts") == ("blocked", None, 0)
