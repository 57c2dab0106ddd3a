"""What the command writes to and reads from a real database."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from services.cli.main import run
from services.cli.migrations import migrate, pending
from tests.integration.cli.conftest import Run
from tests.integration.gateway.door import Door, login, opened_door


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    with opened_door(database_url) as opened:
        yield opened


def test_migrating_twice_changes_nothing(empty_database_url: str, doorbell: Run) -> None:
    """The first run applies everything in order, the second nothing."""
    code, first = doorbell("migrate")
    assert (code, first["applied"][0]) == (0, "0001.ledger")
    assert first["applied"] == sorted(first["applied"])
    assert doorbell("migrate") == (0, {"applied": []})
    assert pending(empty_database_url) == []


def test_migrating_at_once_takes_turns(empty_database_url: str) -> None:
    """Several hosts may deploy at the same moment."""
    start = threading.Barrier(4)

    def once(_: int) -> int:
        start.wait(10)
        return len(migrate(empty_database_url))

    with ThreadPoolExecutor(4) as threads:
        counts = sorted(threads.map(once, range(4)))
    assert counts[:3] == [0, 0, 0]
    assert counts[3] > 0


def test_a_database_without_schema_says_how_to_get_one(
    empty_database_url: str, doorbell: Run
) -> None:
    """A missing table is the operator's news, not a stack trace."""
    code, complaint = doorbell("trace", uuid4())
    assert code == 1
    assert "doorbell migrate" in complaint


def test_a_new_tenant_with_its_key_can_report_at_once(door: Door, doorbell: Run) -> None:
    """The key that is printed once is the one that works; the database has only its digest."""
    assert doorbell("tenant", "create", "shop", "The Shop")[0] == 0
    code, created = doorbell("key", "create", "shop")
    assert code == 0
    key = created["api_key"]
    client = door.client()
    client.headers["Authorization"] = f"Bearer {key}"
    assert client.post("/v1/logins", json=login()).status_code == 202
    digest = hashlib.sha256(key.encode()).digest()
    assert door.rows("SELECT key_sha256, tenant_id FROM api_key") == [(digest, "shop")]


def test_a_given_key_is_taken_and_not_printed(
    database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """Key management from outside: the file's key works, twice is as good as once."""
    (tmp_path / "key").write_text("a-key-from-a-vault\n")
    doorbell("tenant", "create", "shop", "The Shop")
    for _ in range(2):
        answer = doorbell("key", "create", "shop", "--key-file", tmp_path / "key")
        assert answer == (0, {"tenant": "shop"})
    doorbell("tenant", "create", "bank", "The Bank")
    code, complaint = doorbell("key", "create", "bank", "--key-file", tmp_path / "key")
    assert code == 1
    assert "another" in complaint
    (tmp_path / "key").write_text("short")
    assert doorbell("key", "create", "shop", "--key-file", tmp_path / "key")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("tenant", "create", "Shop!", "The Shop"), 1, "cannot be a tenant's id"),
        (("tenant", "create", "shop", " "), 1, "1 to 200 characters"),
        (("tenant", "create", "shop", "A\r\nBcc: eve"), 1, "U+000D"),
        (("key", "create", "nobody"), 4, "doorbell tenant create nobody"),
    ],
)
def test_a_wrong_tenant_is_refused_in_a_sentence(
    database_url: str, doorbell: Run, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    """What is wrong, and what to do."""
    found, said = doorbell(*arguments)
    assert found == code
    assert complaint in said


def test_a_tenant_is_created_once(database_url: str, doorbell: Run) -> None:
    """A second tenant of the same id would be given the first one's logins."""
    assert doorbell("tenant", "create", "shop", "The Shop")[0] == 0
    assert doorbell("tenant", "create", "shop", "Another")[0] == 1


def test_an_import_with_a_wrong_key_is_refused_as_a_whole(
    door: Door, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The gateway's own words say why."""
    (tmp_path / "key").write_text("wrong")
    (tmp_path / "logins").write_text("{}")
    options = ("--gateway", door.url, "--key-file", tmp_path / "key")
    assert run(["logins", "import", str(tmp_path / "logins"), *map(str, options)]) == 1
    complaint = capfd.readouterr().err
    assert "401" in complaint
    assert "no such API key" in complaint


def test_a_trace_shows_plan_and_progress(
    door: Door, doorbell: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    """Planned steps stand there before anything ran, and what ran says so."""
    with psycopg.connect(door.database_url) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        digest = hashlib.sha256(b"key-of-shop").digest()
        connection.execute("INSERT INTO api_key VALUES (%s, 'shop')", (digest,))
    workflow_id = door.report(login()).json()["workflow_id"]
    door.rows(
        "UPDATE step SET state = 'done', attempts = 1, host = 'h1', result = '{\"is_new\": true}',"
        " started_at = now(), finished_at = now() WHERE position = 0"
    )
    code, traced = doorbell("trace", workflow_id)
    assert code == 0
    assert [step["state"] for step in traced["steps"]] == ["done"] + ["planned"] * 4
    assert traced["steps"][0]["result"] == {"is_new": True}
    assert run(["trace", workflow_id]) == 0
    text = capfd.readouterr().out
    assert "device_checks.check_device done, 1 attempt" in text
    assert "joins notify_user + save_event" in text
    assert doorbell("trace", uuid4())[0] == 4


def test_the_doctor_knows_a_migrated_database(database_url: str, doorbell: Run) -> None:
    """Database, schema and clock are well; the broker is what is wrong."""
    code, findings = doorbell("doctor")
    verdicts = {each["what"]: each["verdict"] for each in findings}
    assert code == 1
    assert [verdicts[each] for each in ("database", "schema", "clock")] == ["ok"] * 3
    assert [what for what, verdict in verdicts.items() if verdict == "wrong"] == ["broker"]
