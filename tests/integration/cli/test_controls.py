"""What operators switch by hand, without a broker: breakers, and switches of many users."""

from __future__ import annotations

import getpass
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Any

import psycopg
import pytest

from services.adapters.breaker import PostgresBreaker
from services.cli.main import run
from services.domain.errors import Unavailable
from tests.integration.cli.conftest import Run

HOUR = timedelta(hours=1)


def rows(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def test_a_held_breaker_lets_nobody_through_until_it_is_closed(
    database_url: str, doorbell: Run
) -> None:
    """Not even a probe, nor after a success that was under way; each command has its audit row."""
    breaker = PostgresBreaker(partial(psycopg.connect, database_url), "outlier_api")
    breaker.check()
    assert doorbell("breaker", "open", "outlier_api") == (
        0,
        {"name": "outlier_api", "state": "held"},
    )
    breaker.record_success()
    for _ in range(5):
        breaker.record_failure()
    rows(database_url, "UPDATE breaker SET open_until = now() - interval '1 minute'")
    with pytest.raises(Unavailable, match="outlier_api is open"):
        breaker.check()
    [listed] = doorbell("breaker", "list")[1]
    assert listed["state"] == "held"
    assert "@" in listed["held_by"]

    assert doorbell("breaker", "close", "outlier_api")[1]["state"] == "closed"
    breaker.check()
    assert rows(database_url, "SELECT action, actor FROM breaker_action ORDER BY id") == [
        ("open", listed["held_by"]),
        ("close", listed["held_by"]),
    ]


def test_the_audit_trail_names_who_is_told_to_have_called(
    database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On hosts the command's own user is of the moment, and says nothing."""
    monkeypatch.setenv("DOORBELL_ACTOR", "ada")
    doorbell("breaker", "open", "outlier_api")
    monkeypatch.setenv("DOORBELL_ACTOR", "")
    doorbell("breaker", "close", "outlier_api")
    [(first,), (second,)] = rows(database_url, "SELECT actor FROM breaker_action ORDER BY id")
    assert first == f"ada@{gethostname()}"
    assert second == f"{getpass.getuser()}@{gethostname()}"


def test_a_breaker_is_held_since_somebody_held_it(database_url: str, doorbell: Run) -> None:
    """However often it is held again, and whatever calls that were under way come to."""
    breaker = PostgresBreaker(partial(psycopg.connect, database_url), "outlier_api")
    breaker.record_failure()
    doorbell("breaker", "open", "outlier_api")
    rows(database_url, "UPDATE breaker SET changed_at = now() - interval '1 hour'")
    [since] = rows(database_url, "SELECT changed_at FROM breaker")
    breaker.record_failure()
    breaker.record_success()
    doorbell("breaker", "open", "outlier_api")
    assert rows(database_url, "SELECT changed_at FROM breaker") == [since]
    doorbell("breaker", "close", "outlier_api")
    assert rows(database_url, "SELECT changed_at > %s FROM breaker", *since) == [(True,)]


def test_close_ends_what_failures_have_opened(database_url: str, doorbell: Run) -> None:
    """An operator who knows that the API is back need not wait for the probe."""
    breaker = PostgresBreaker(partial(psycopg.connect, database_url), "outlier_api")
    for _ in range(5):
        breaker.record_failure()
    assert doorbell("breaker", "list")[1][0]["state"] == "open"
    doorbell("breaker", "close", "outlier_api")
    breaker.check()


def test_an_unknown_breaker_is_said(database_url: str, doorbell: Run) -> None:
    code, said = doorbell("breaker", "open", "smtp")
    assert code == 4
    assert "outlier_api" in said


def lock(url: str, tenant: str, *users: str, ago: timedelta = HOUR, name: str = "locked") -> None:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO tenant VALUES (%s, 'A Shop') ON CONFLICT DO NOTHING", (tenant,))
        since = datetime.now(UTC) - ago
        cursor.executemany(
            "INSERT INTO switch VALUES (%s, %s, %s, true, %s)",
            [(tenant, user, name, since) for user in users],
        )


def locked(url: str) -> set[str]:
    return {user for (user,) in rows(url, "SELECT user_id FROM switch WHERE is_on")}


def test_many_users_are_unlocked_at_once(database_url: str, doorbell: Run) -> None:
    """Those who were locked in the last hour, of one tenant; a dry run names them and changes nothing."""
    users = [f"new-{number}" for number in range(1_200)]
    lock(database_url, "shop", *users, ago=timedelta(minutes=5))
    lock(database_url, "shop", "old", ago=2 * HOUR)
    lock(database_url, "bank", "other", ago=timedelta(minutes=5))
    lock(database_url, "shop", "old", ago=2 * HOUR, name="require_step_up")
    wanted = ("users", "unlock", "--tenant", "shop", "--younger-than", "1h")
    code, told = doorbell(*wanted, "--dry-run")
    assert (code, len(told["users"])) == (0, 1_200)
    assert len(locked(database_url)) == 1_202

    assert doorbell(*wanted)[0] == 2
    assert doorbell(*wanted, "--yes")[0] == 0
    assert locked(database_url) == {"old", "other"}
    [(flips, actors, on)] = rows(
        database_url,
        "SELECT count(*), count(actor), count(*) FILTER (WHERE is_on) FROM switch_change",
    )
    assert (flips, actors, on) == (1_200, 1_200, 0)
    assert doorbell(*wanted, "--yes")[0] == 4


def log_in(url: str, tenant: str, *users: str) -> None:
    """A device of each, as a login brings it."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO tenant VALUES (%s, 'A Shop') ON CONFLICT DO NOTHING", (tenant,))
        cursor.executemany(
            "INSERT INTO device (id, tenant_id, user_id, fingerprint, description,"
            " first_workflow_id, first_of_user, first_seen_at, last_seen_at) VALUES"
            " (gen_random_uuid(), %s, %s, 'f', 'Firefox', gen_random_uuid(), true, now(), now())",
            [(tenant, user) for user in users],
        )


def test_many_users_are_locked_at_once(database_url: str, doorbell: Run, tmp_path: Path) -> None:
    """Those of a file, each with an audit row; who was locked before has no second one."""
    users = [f"user-{number}" for number in range(1_200)]
    log_in(database_url, "shop", *users)
    lock(database_url, "shop", "user-7")
    names = tmp_path / "names"
    names.write_text("\n".join([*users, "", "user-3"]))
    wanted = ("users", "lock", "shop", "--file", str(names), "--reason", "stolen passwords")
    code, told = doorbell(*wanted, "--dry-run")
    assert (code, len(told["users"])) == (0, 1_199)
    assert doorbell(*wanted)[0] == 2
    assert locked(database_url) == {"user-7"}

    assert doorbell(*wanted, "--yes")[0] == 0
    assert locked(database_url) == set(users)
    assert rows(
        database_url,
        "SELECT is_on, reason, count(*), count(actor) FROM switch_change GROUP BY 1, 2",
    ) == [(True, "stolen passwords", 1_199, 1_199)]
    assert doorbell(*wanted, "--yes")[1]["users"] == []


def test_a_user_who_never_logged_in_is_not_locked(
    database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """A mistyped name is said, and nobody is locked; of another application's users neither."""
    log_in(database_url, "shop", "ada")
    log_in(database_url, "bank", "bob")
    code, said = doorbell("users", "lock", "shop", "ada", "bob", "--yes")
    assert code == 4
    assert "1 user of shop never logged in: bob; nobody was locked" in said
    assert locked(database_url) == set()
    (tmp_path / "names").write_bytes(b"ad\xff")
    for file, word in ((tmp_path / "names", "UTF-8"), (tmp_path / "none", "cannot be read")):
        code, said = doorbell("users", "lock", "shop", "--file", str(file), "--yes")
        assert code == 2
        assert word in said
    code, said = doorbell("users", "lock", "shop", "--yes")
    assert code == 2
    assert "say who" in said


def test_who_never_logged_in_can_be_left_out(database_url: str, doorbell: Run) -> None:
    """One stale name of a list keeps nobody else from being locked, and is named."""
    log_in(database_url, "shop", "ada")
    code, told = doorbell("users", "lock", "shop", "ada", "bob", "--skip-unknown", "--yes")
    assert (code, told["unknown"]) == (0, ["bob"])
    assert locked(database_url) == {"ada"}
    assert doorbell("users", "lock", "shpo", "ada", "--skip-unknown", "--yes")[0] == 4


def test_what_was_locked_in_bulk_is_unlocked_in_bulk(
    database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """By the list, or by the reason; whom a verdict has locked stays so."""
    log_in(database_url, "shop", "ada", "bob", "eve")
    wanted = ("users", "lock", "shop", "--reason", "stolen passwords", "--yes")
    assert doorbell(*wanted, "ada", "bob")[0] == 0
    assert doorbell("users", "lock", "shop", "eve", "--reason", "a verdict", "--yes")[0] == 0
    (tmp_path / "names").write_text("ada\nzoe\n")
    assert doorbell("users", "unlock", "--file", str(tmp_path / "names"), "--yes")[0] == 0
    assert locked(database_url) == {"bob", "eve"}
    assert doorbell("users", "unlock", "--because", "stolen passwords", "--yes")[0] == 0
    assert locked(database_url) == {"eve"}
    assert doorbell("users", "unlock", "--because", "stolen passwords", "--yes")[0] == 4
    (tmp_path / "names").write_text("\n")
    for whose in (), ("--tenant", "shop"):
        empty = ("users", "unlock", "--file", str(tmp_path / "names"), *whose, "--yes")
        code, complaint = doorbell(*empty)
        assert (code, "names nobody" in complaint) == (2, True)
    assert locked(database_url) == {"eve"}


def test_a_tenant_that_is_not_there_is_no_tenant_without_locked_users(
    database_url: str, doorbell: Run
) -> None:
    """Else a typo looks like the end of the work."""
    lock(database_url, "shop", "ada")
    code, complaint = doorbell("users", "unlock", "--tenant", "shpo", "--dry-run")
    assert (code, "there is no tenant shpo" in complaint) == (2, True)


def test_a_dry_run_names_everybody(database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """However many; and who would be left out, because of those named he is not locked."""
    users = [f"user-{number:02}" for number in range(31)]
    lock(database_url, "shop", *users)
    assert run(["users", "unlock", *users, "zoe", "--dry-run"]) == 0
    said = capfd.readouterr()
    assert all(user in said.out for user in users)
    assert said.err.strip() == "left out, as not locked: zoe"


def test_one_user_is_unlocked_by_name(database_url: str, doorbell: Run) -> None:
    lock(database_url, "shop", "ada")
    lock(database_url, "shop", "bob")
    assert doorbell("users", "unlock", "ada", "--yes")[0] == 0
    assert locked(database_url) == {"bob"}


def test_nobody_is_unlocked_unasked(database_url: str, doorbell: Run) -> None:
    """Without a word about whom, it asks for one."""
    code, said = doorbell("users", "unlock", "--yes")
    assert code == 2
    assert "--all" in said


def test_a_session_that_blocks_is_found_and_ended(database_url: str, doorbell: Run) -> None:
    """Only one of others, and only while one of ours waits for it."""
    nobody = {"found": [], "left": []}
    with (
        psycopg.connect(database_url, application_name="somebody") as holder,
        psycopg.connect(database_url, application_name="doorbell-test", autocommit=True) as ours,
    ):
        holder.execute("LOCK TABLE tenant IN ACCESS EXCLUSIVE MODE")
        assert doorbell("ledger", "blockers", "--for", 0) == (0, nobody)
        with ThreadPoolExecutor(1) as waiting:
            waits = waiting.submit(ours.execute, "SELECT FROM tenant")
            try:
                code, listed = doorbell("ledger", "blockers")
                [blocker] = listed["found"]
                pid = holder.info.backend_pid
                assert (code, blocker["pid"], blocker["waiting"]) == (1, pid, 1)
                assert "LOCK TABLE tenant" in blocker["query"]
                assert doorbell("ledger", "blockers", "--end")[1]["left"] == []
            finally:
                holder.close()
            waits.result(10)
    assert doorbell("ledger", "blockers", "--end", "--for", 0.5) == (0, nobody)
