"""Keys and tenants: nobody sees another's."""

from __future__ import annotations

import httpx
import pytest

from services.gateway import authentication
from tests.integration.gateway.door import Door, login, wait_until

ABSENT = "00000000-0000-4000-8000-000000000000"


def test_another_tenants_data_is_not_there(door: Door) -> None:
    """Another tenant's workflow answers exactly like one that does not exist."""
    workflow_id = door.report(login(user_id="ada")).json()["workflow_id"]
    theirs = door.read(f"/v1/workflows/{workflow_id}", tenant="bank")
    absent = door.read(f"/v1/workflows/{ABSENT}", tenant="bank")
    assert theirs.status_code == absent.status_code == 404
    assert theirs.content == absent.content
    assert door.read("/v1/workflows?user_id=ada", tenant="bank").json()["workflows"] == []
    assert len(door.read("/v1/workflows?user_id=ada").json()["workflows"]) == 1


def test_two_tenants_may_use_the_same_event_id(door: Door) -> None:
    """Keys of one tenant do not collide with another's."""
    body = login()
    one, two = door.report(body, tenant="shop"), door.report(body, tenant="bank")
    assert one.status_code == two.status_code == 202
    assert one.json()["workflow_id"] != two.json()["workflow_id"]


def test_devices_and_switches_are_the_tenants_own(door: Door) -> None:
    """The same user id at two tenants is two users."""
    door.rows(
        "INSERT INTO device (id, tenant_id, user_id, fingerprint, description,"
        " first_workflow_id, first_of_user, first_seen_at, last_seen_at)"
        " VALUES (gen_random_uuid(), 'shop', 'org/ada', 'f', 'Firefox on Linux',"
        " gen_random_uuid(), true, now(), now())"
    )
    door.rows("INSERT INTO switch VALUES ('shop', 'org/ada', 'locked', true, now())")
    [device] = door.read("/v1/users/org%2Fada/devices").json()["devices"]
    assert device["description"] == "Firefox on Linux"
    switches = door.read("/v1/users/org%2Fada/switches").json()["switches"]
    assert (switches["locked"]["is_on"], switches["require_step_up"]["is_on"]) == (True, False)
    assert door.read("/v1/users/org%2Fada/devices", tenant="bank").json()["devices"] == []
    theirs = door.read("/v1/users/org%2Fada/switches", tenant="bank").json()["switches"]
    assert theirs["locked"] == {"is_on": False, "changed_at": None, "expires_at": None}


def test_a_switch_whose_time_is_over_is_off(door: Door) -> None:
    """At once, though nobody has swept it up yet; before, it says until when it is on."""
    door.rows(
        "INSERT INTO switch (tenant_id, user_id, name, is_on, expires_at)"
        " VALUES ('shop', 'eve', 'locked', true, now() - interval '1 second'),"
        " ('shop', 'eve', 'require_step_up', true, now() + interval '1 hour')"
    )
    switches = door.read("/v1/users/eve/switches").json()["switches"]
    assert (switches["locked"]["is_on"], switches["locked"]["expires_at"]) == (False, None)
    assert switches["require_step_up"]["is_on"]
    assert switches["require_step_up"]["expires_at"] is not None


def test_a_wrong_key_is_401_everywhere(door: Door) -> None:
    """No address below /v1 answers without a key."""
    workflow_id = door.report(login()).json()["workflow_id"]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic a2V5"}):
        with httpx.Client(base_url=door.url, headers=headers, trust_env=False) as client:
            for method, path in (
                ("POST", "/v1/logins"),
                ("POST", "/v1/logins:batch"),
                ("GET", f"/v1/workflows/{workflow_id}"),
                ("GET", "/v1/workflows?user_id=ada"),
                ("GET", "/v1/users/ada/devices"),
                ("GET", "/v1/users/ada/switches"),
            ):
                answer = client.request(method, path)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
    assert door.count("workflow") == 1


def test_a_revoked_key_stops_working(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as a lookup is no longer believed."""
    monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.5)
    assert door.report(login()).status_code == 202
    door.rows("UPDATE api_key SET revoked_at = now() WHERE tenant_id = 'shop'")
    wait_until(lambda: door.report(login()).status_code == 401)


def test_pages_hold_every_workflow_once(door: Door) -> None:
    """Paging neither repeats nor skips, also when more arrives meanwhile."""
    sent = {door.report(login(user_id="eve")).json()["workflow_id"] for _ in range(7)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = door.read(f"/v1/workflows?user_id=eve&limit=3{cursor}").json()
        seen += [workflow["workflow_id"] for workflow in page["workflows"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        door.report(login(user_id="eve"))
    assert len(seen) == len(set(seen)) == 7
    assert set(seen) == sent


def test_workflows_of_one_transaction_are_paged_too(door: Door) -> None:
    """Workflows accepted at the same instant do not fall between two pages."""
    door.report_batch(*[login(user_id="eve") for _ in range(10)])
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        page = door.read(f"/v1/workflows?user_id=eve&limit=2{cursor}").json()
        seen += [workflow["workflow_id"] for workflow in page["workflows"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert len(set(seen)) == 10
