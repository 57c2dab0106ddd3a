"""API keys are kept as digests, shown nowhere, and tell strangers nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from services.cli.tenants import create_key
from services.gateway import authentication
from tests.integration.gateway.door import KEYS, Door, login

ABSENT = "00000000-0000-4000-8000-000000000000"
REVOKED = "key-that-was-revoked-0001"
WRONG = "key-that-nobody-ever-had-0001"
GIVEN = "Zm9vYmFy-key-from-a-file_0001"


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request looks its key up: a revoked one is refused at once."""
    monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.0)


def _ask(door: Door, key: str, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=door.url, headers=headers, timeout=30, trust_env=False) as client:
        return client.request(method, path, **options)


def _shown(answer: httpx.Response) -> tuple[int, bytes, Mapping[str, str]]:
    """All that a stranger sees."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, answer.content, headers


def _give(door: Door, key: str | None = None) -> str:
    with psycopg.connect(door.database_url, row_factory=dict_row) as connection:
        return create_key(connection, "shop", key)


def _whole_database(door: Door) -> str:
    with psycopg.connect(door.database_url) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        return "\n".join(
            repr(connection.execute(sql.SQL("TABLE {}").format(sql.Identifier(name))).fetchall())
            for (name,) in names
        )


def test_only_digests_are_stored(door: Door) -> None:
    """A key that was made, given and used stands nowhere in the database; its SHA-256 does."""
    keys = [_give(door), _give(door, GIVEN), KEYS["shop"]]
    for key in keys:
        assert _ask(door, key, "POST", "/v1/logins", json=login()).status_code == 202
    kept = {bytes(row[0]) for row in door.rows("SELECT key_sha256 FROM api_key")}
    assert {hashlib.sha256(key.encode()).digest() for key in keys} <= kept
    everything = _whole_database(door)
    assert "shop" in everything
    assert [key for key in keys if key in everything] == []


def test_keys_are_long_and_never_the_same(door: Door) -> None:
    """256 random bits each."""
    keys = {_give(door) for _ in range(20)}
    assert len(keys) == 20
    assert min(map(len, keys)) >= 43


def test_a_revoked_key_looks_like_one_that_never_was(door: Door) -> None:
    """Everywhere, and whatever stands behind the address: the same status, body and headers."""
    workflow_id = door.report(login(user_id="ada")).json()["workflow_id"]
    _give(door, REVOKED)
    assert _ask(door, REVOKED, "GET", f"/v1/workflows/{workflow_id}").status_code == 200
    door.rows(
        "UPDATE api_key SET revoked_at = now() WHERE key_sha256 = %s",
        hashlib.sha256(REVOKED.encode()).digest(),
    )
    for method, path in (
        ("GET", f"/v1/workflows/{workflow_id}"),
        ("GET", f"/v1/workflows/{ABSENT}"),
        ("GET", "/v1/workflows?user_id=ada"),
        ("GET", "/v1/users/ada/devices"),
        ("GET", "/v1/users/ada/switches"),
        ("POST", "/v1/users/ada/export"),
        ("GET", f"/v1/exports/{ABSENT}"),
        ("POST", "/v1/users/ada/erase"),
        ("GET", f"/v1/erasures/{ABSENT}"),
        ("POST", "/v1/incidents"),
        ("GET", f"/v1/incidents/{ABSENT}"),
        ("POST", f"/v1/incidents/{ABSENT}/stop"),
        ("POST", f"/v1/incidents/{ABSENT}/undo"),
        ("POST", "/v1/users/ada/digest"),
        ("POST", "/v1/imports"),
        ("POST", f"/v1/imports/{ABSENT}/logins"),
        ("POST", f"/v1/imports/{ABSENT}/begin"),
        ("GET", f"/v1/imports/{ABSENT}"),
        ("POST", "/v1/logins"),
        ("POST", "/v1/logins:batch"),
    ):
        revoked, wrong = (_shown(_ask(door, key, method, path)) for key in (REVOKED, WRONG))
        assert revoked == wrong
        assert revoked[0] == 401
    assert door.count("workflow") == 1


def test_another_tenant_s_things_look_like_things_that_are_not_there(door: Door) -> None:
    """Workflows, users and event ids of others: the very answer that nothing gives, and never 403."""
    body = login(user_id="ada")
    workflow_id = door.report(body, tenant="shop").json()["workflow_id"]
    door.rows("INSERT INTO switch VALUES ('shop', 'ada', 'locked', true, now())")
    bank = KEYS["bank"]
    for theirs, nobodys in (
        (f"/v1/workflows/{workflow_id}", f"/v1/workflows/{ABSENT}"),
        ("/v1/workflows?user_id=ada", "/v1/workflows?user_id=eve"),
        ("/v1/users/ada/devices", "/v1/users/eve/devices"),
        ("/v1/users/ada/switches", "/v1/users/eve/switches"),
    ):
        found, absent = (_ask(door, bank, "GET", path) for path in (theirs, nobodys))
        assert found.status_code == absent.status_code
        assert found.status_code in (200, 404)
        assert found.text.replace("ada", "eve") == absent.text
    again = _ask(door, bank, "POST", "/v1/logins", json=body | {"ip": "192.0.2.9"})
    assert again.status_code == 202
    assert again.json()["workflow_id"] != workflow_id


def test_another_tenant_s_cursor_opens_nothing(door: Door) -> None:
    """A page's cursor from one tenant shows the other one its own workflows alone."""
    for _ in range(3):
        door.report(login(user_id="ada"), tenant="shop")
    own = door.report(login(user_id="ada"), tenant="bank").json()["workflow_id"]
    cursor = door.read("/v1/workflows?user_id=ada&limit=1").json()["next_cursor"]
    page = door.read(f"/v1/workflows?user_id=ada&cursor={cursor}", tenant="bank").json()
    assert [workflow["workflow_id"] for workflow in page["workflows"]] in ([], [own])


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {WRONG}",
        f"Bearer {KEYS['shop']}",
        f"Bearer {KEYS['shop']} and more",
        f"Basic {KEYS['shop']}",
        KEYS["shop"],
        f"Bearer {KEYS['shop'] * 20}",
    ],
    ids=["wrong", "right", "two words", "another scheme", "no scheme", "too long"],
)
def test_a_key_is_in_no_log_and_no_answer(
    door: Door, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    """Right, wrong or misspelled, at the most talkative level, and when the database objects."""
    caplog.set_level(logging.DEBUG)
    door.rows("ALTER TABLE reported_login ADD CHECK (user_id <> 'trouble')")
    with httpx.Client(base_url=door.url, timeout=30, trust_env=False) as client:
        answers = [
            client.post("/v1/logins", json=login(user_id=user), headers={"Authorization": header})
            for user in ("ada", "trouble")
        ]
    is_right = header == f"Bearer {KEYS['shop']}"
    assert [each.status_code for each in answers] == ([202, 500] if is_right else [401, 401])
    for key in (WRONG, KEYS["shop"]):
        assert key not in caplog.text
        assert not any(key in f"{each.text} {each.headers}" for each in answers)


def test_the_document_promises_no_403(door: Door) -> None:
    """No route can answer that something is there but not for you."""
    paths = door.read("/openapi.json").json()["paths"]
    statuses = {
        status
        for path, operations in paths.items()
        if path.startswith("/v1/")
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert "404" in statuses
    assert "403" not in statuses
