"""The ledger's figures, of a ledger that the test has filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from services.canvas.delivery import NOTICE_TASK
from services.ledger import breakers, drains, limits, pauses
from services.ledger.drains import Scope
from services.ledger.figures import AGES_SECONDS, Figures, measure
from tests.integration.ledger.conftest import Database

QUEUES = ("db_writes", "notifications")


def figures_of(database: Database) -> Figures:
    with database.connect() as connection:
        return measure(connection, QUEUES, NOTICE_TASK)


def add_step(database: Database, step_id: str, **columns: Any) -> None:
    """A step that was published two minutes ago, unless told otherwise."""
    values = {"id": step_id, "queue": "notifications", "state": "ready", "task": "x"} | columns
    database.rows(
        f"INSERT INTO step ({', '.join(values)}, published_at, finished_at)"
        f" VALUES ({', '.join(['%s'] * len(values))}, now() - interval '2 minutes', now())",
        *values.values(),
    )


def accept(database: Database, ago: str, **columns: Any) -> UUID:
    workflow_id = database.add_workflow()
    database.rows(
        "UPDATE workflow SET accepted_at = now() - %s::interval WHERE id = %s", ago, workflow_id
    )
    for name, value in columns.items():
        database.rows(f"UPDATE workflow SET {name} = %s WHERE id = %s", value, workflow_id)
    return workflow_id


def _ago(**age: float) -> datetime:
    return datetime.now(UTC) - timedelta(**age)


def test_an_empty_ledger_has_figures_too(database: Database) -> None:
    """Nothing is zero, and every queue has its sample."""
    # The database is as old as its template, which may have waited for other tests.
    database.rows("UPDATE canary SET returned_at = now() - interval '10 seconds'")
    found = figures_of(database)
    assert 10 <= found.canary_seconds < 70
    assert replace(found, canary_seconds=0.0) == Figures(
        0,
        0.0,
        0,
        0,
        dict.fromkeys(QUEUES, 0.0),
        0,
        0,
        False,
        False,
        0.0,
        [],
        [],
        dict.fromkeys(AGES_SECONDS, 0),
        {},
        {},
    )


def test_open_workflows_are_counted_with_the_age_of_the_oldest(database: Database) -> None:
    """Ended ones are nobody's trouble any more."""
    accept(database, "10 minutes")
    accept(database, "1 second")
    accept(database, "1 hour", state="done")
    found = figures_of(database)
    assert found.open_workflows == 2
    assert 600 <= found.oldest_workflow_seconds < 660
    assert found.open_by_age == {10: 1, 60: 1, 600: 1, 3600: 0}


def test_a_replayed_workflow_is_as_old_as_its_last_move(database: Database) -> None:
    """However long ago it was accepted, and however long a replay lasts that goes on."""
    replayed = accept(database, "1 day", generation=2)
    add_step(database, "given up", workflow_id=replayed, state="done", ready_at="2020-01-01")
    database.rows("UPDATE step SET finished_at = now() - interval '1 hour'")
    add_step(database, "replayed", workflow_id=replayed, ready_at=_ago(minutes=2))
    database.rows("UPDATE step SET finished_at = NULL WHERE id = 'replayed'")
    assert 120 <= figures_of(database).oldest_workflow_seconds < 180
    accept(database, "10 minutes")
    assert 600 <= figures_of(database).oldest_workflow_seconds < 660


def test_an_import_is_as_old_as_its_last_move(database: Database) -> None:
    """A million logins take longer than one may."""
    import_id = accept(database, "1 day")
    database.rows("UPDATE workflow SET name = 'import'")
    add_step(database, "learned", workflow_id=import_id, state="done", ready_at=_ago(hours=2))
    database.rows("UPDATE step SET finished_at = now() - interval '2 minutes'")
    assert 120 <= figures_of(database).oldest_workflow_seconds < 180


def test_a_login_is_late_while_it_has_no_verdict(database: Database) -> None:
    """Not a young one, one with a verdict, one that has ended, or one that is being replayed."""
    accept(database, "2 minutes")
    accept(database, "1 second")
    accept(database, "2 minutes", state="dead")
    accept(database, "2 minutes", generation=2)
    judged = accept(database, "2 minutes")
    database.rows(
        "INSERT INTO verdict (workflow_id, tenant_id, user_id, level, action, request_id)"
        " VALUES (%s, 'shop', 'ada', 'low', 'allow', 'r')",
        judged,
    )
    assert figures_of(database).late_logins == 1


def test_a_step_waits_from_when_it_was_published_and_due(database: Database) -> None:
    """A retry with a delay does not wait before its time; what has ended does not wait."""
    add_step(database, "waits")
    add_step(database, "later", queue="db_writes", state="retrying", due_at="9999-01-01")
    add_step(database, "done", queue="db_writes", state="done")
    found = figures_of(database).oldest_waiting_seconds
    assert 120 <= found["notifications"] < 180
    assert found["db_writes"] == 0


def test_a_notice_is_late_from_when_it_was_recorded(database: Database) -> None:
    """However young its last retry is."""
    long_ago = "2020-01-01"
    add_step(database, "late", task=NOTICE_TASK, state="retrying", planned_at=long_ago)
    add_step(database, "young", task=NOTICE_TASK)
    add_step(database, "other", planned_at=long_ago)
    add_step(database, "replayed", task=NOTICE_TASK, planned_at=long_ago, generation=2)
    add_step(database, "sent", task=NOTICE_TASK, planned_at=long_ago, state="done")
    assert figures_of(database).late_notices == 1
    add_step(database, "parked", task=NOTICE_TASK, planned_at=long_ago, state="parked")
    add_step(database, "parked and young", task=NOTICE_TASK, state="parked")
    assert figures_of(database).late_notices == 2


def test_lost_steps_count_until_somebody_acts(database: Database) -> None:
    """Other reasons have their dead letters; a lost step has none."""
    add_step(database, "lost", state="dead", reason="lost")
    add_step(database, "dropped", state="dead", reason="lost", dropped_at="2020-01-01")
    add_step(database, "refused", state="failed", reason="refused")
    assert figures_of(database).lost_steps == 1


def test_a_breaker_counts_while_it_is_open(database: Database) -> None:
    """Failures below the threshold open nothing."""
    database.rows("INSERT INTO breaker (name, failures, open_until) VALUES ('open', 5, now())")
    database.rows("INSERT INTO breaker (name, failures) VALUES ('closed', 4)")
    assert figures_of(database).open_breakers == 1


def test_what_operators_hold_is_told_with_its_age(database: Database) -> None:
    """Until they let it go; a breaker that is held has not opened by itself."""
    with database.connect() as connection:
        pauses.pause(connection, NOTICE_TASK, "ada@desk")
        breakers.hold_open(connection, "outlier_api", "ada@desk")
        drains.drain(connection, Scope("db_writes", "host1"), "ada@desk")
        drains.drain(connection, Scope("db_writes", "host2"), "ada@desk")
        connection.commit()
    database.rows("UPDATE drain SET drained_at = now() - interval '1 hour' WHERE host = 'host1'")
    found = figures_of(database)
    assert found.open_breakers == 0
    ages = {(each.kind, each.name): each.seconds for each in found.held}
    assert ages[("task", NOTICE_TASK)] < 60
    assert ages[("breaker", "outlier_api")] < 60
    assert 3600 <= ages[("pool", "db_writes")] < 3660
    assert len(found.held) == 3
    with database.connect() as connection:
        pauses.resume(connection, NOTICE_TASK, "ada@desk")
        breakers.close(connection, "outlier_api", "ada@desk")
        drains.resume(connection, Scope("db_writes"), "ada@desk")
        connection.commit()
    assert figures_of(database).held == []


def test_what_is_parked_and_limited_is_told_by_task(database: Database) -> None:
    """Until it is let go, and the limit is lifted."""
    for number in range(3):
        add_step(database, f"parked {number}", task=NOTICE_TASK, state="parked")
    add_step(database, "waits", task=NOTICE_TASK)
    with database.connect() as connection:
        limits.limit(connection, NOTICE_TASK, 0.5, "ada@desk")
        connection.commit()
    found = figures_of(database)
    assert (found.parked_steps, found.limits) == ({NOTICE_TASK: 3}, {NOTICE_TASK: 0.5})
    with database.connect() as connection:
        limits.lift(connection, NOTICE_TASK, "ada@desk")
        connection.commit()
    assert figures_of(database).limits == {}


def test_a_missing_standby_is_seen(database: Database) -> None:
    """One is wanted and none is connected; looking needs no commit that would wait for it."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'")
        connection.execute("SELECT pg_reload_conf()")
    try:
        # The server reads its configuration in its own time.
        assert any(figures_of(database).is_standby_missing for _ in range(1_000))
    finally:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def test_commits_that_should_wait_and_do_not_are_seen(database: Database) -> None:
    """A standby has its slot, and commits wait for none; the backups' slot asks for nothing."""
    database.rows("SELECT pg_create_physical_replication_slot('backup')")
    try:
        assert not figures_of(database).is_unprotected
        database.rows("SELECT pg_create_physical_replication_slot('database2')")
        try:
            assert figures_of(database).is_unprotected
            with database.connect() as connection:
                connection.execute("SET doorbell.without_standby = 'on'")
                assert not measure(connection, QUEUES, NOTICE_TASK).is_unprotected
        finally:
            database.rows("SELECT pg_drop_replication_slot('database2')")
    finally:
        database.rows("SELECT pg_drop_replication_slot('backup')")


def test_a_slot_that_nobody_uses_is_seen_with_what_it_costs(database: Database) -> None:
    """The standby's, or the backups': the primary keeps WAL for it until its disk is full."""
    assert figures_of(database).slots == []
    database.rows("SELECT pg_create_physical_replication_slot('backup', true)")
    try:
        database.rows("SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000))")
        [slot] = figures_of(database).slots
        assert (slot.name, slot.is_fetched) == ("backup", False)
        assert slot.kept_bytes > 100_000
    finally:
        database.rows("SELECT pg_drop_replication_slot('backup')")


def test_looking_changes_nothing_and_may_not_take_long(database: Database) -> None:
    """A statement that would hold up the ledger is cancelled."""
    with database.connect() as connection:
        measure(connection, QUEUES, NOTICE_TASK)
        (limit,) = connection.execute("SHOW statement_timeout").fetchone() or ("",)
        assert limit == "5s"
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")
