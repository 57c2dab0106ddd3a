"""Logins at the door: what is accepted is in the ledger, once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from services.gateway.reports import MAX_BATCH
from services.ledger.labels import is_shown
from services.observability.sampling import MOST_WORKFLOWS_PER_SECOND
from tests.integration.gateway.door import KEYS, Door, login

TABLES = ("workflow", "reported_login", "idempotency_key", "step")


def nothing_is_written(door: Door) -> bool:
    return all(door.count(table) == 0 for table in TABLES)


def all_at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    start = threading.Barrier(len(calls))

    def call(one: Callable[[], httpx.Response]) -> httpx.Response:
        start.wait(10)
        return one()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def test_an_accepted_login_is_a_workflow_with_all_its_steps(door: Door) -> None:
    """202 means: the login, its workflow and every planned step are committed."""
    body = login(email="ada@example.org", kind="second_factor")
    answer = door.report(body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["event_id"] == body["event_id"]
    assert accepted["state"] == "accepted"
    workflow = door.read(answer.headers["location"]).json()
    assert workflow["workflow_id"] == accepted["workflow_id"]
    assert (workflow["name"], workflow["state"], workflow["verdict"]) == ("login", "accepted", None)
    assert [step["task"] for step in workflow["steps"]] == [
        "device_checks.check_device",
        "notifications.notify_user",
        "db_writes.save_event",
        "external_api.score_login",
        "db_writes.apply_verdict",
    ]
    assert [step["state"] for step in workflow["steps"]] == ["ready"] + ["planned"] * 4
    stored = door.rows(
        "SELECT tenant_id, user_id, host(ip), user_agent, email, kind FROM reported_login"
    )
    assert stored == [
        ("shop", "ada", "203.0.113.7", "Mozilla/5.0", "ada@example.org", "second_factor")
    ]


def test_a_device_is_given_a_cookie_and_keeps_it(door: Door) -> None:
    """The same with each answer to one login; none once the device sends it back."""
    body = login()
    cookie = door.report(body).headers["doorbell-device-cookie"]
    assert door.report(body).headers["doorbell-device-cookie"] == cookie
    answer = door.report(login(device_cookie=cookie))
    assert answer.status_code == 202
    assert "doorbell-device-cookie" not in answer.headers
    first, second = door.rows(
        "SELECT workflow_id, cookie_id FROM reported_login ORDER BY received_at"
    )
    assert (first[1], second[1]) == (None, first[0])


def test_a_cookie_that_is_not_ours_counts_as_none(door: Door) -> None:
    """Made by the application, by somebody else, or with another tenant's key."""
    foreign = door.report(login(), "bank").headers["doorbell-device-cookie"]
    for cookie in ("device-1", f"{foreign[:-1]}x", foreign):
        assert "doorbell-device-cookie" in door.report(login(device_cookie=cookie)).headers
    assert door.rows("SELECT count(*) FROM reported_login WHERE cookie_id IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("key", [{}, {"Idempotency_Key": "k-1"}])
def test_the_same_login_again_gives_the_same_workflow(door: Door, key: dict[str, str]) -> None:
    """A client whose answer got lost asks again and changes nothing."""
    body = login()
    first, second = door.report(body, **key), door.report(body, **key)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert door.count("workflow") == 1


def test_a_repeated_login_tells_how_far_it_is(door: Door) -> None:
    """The state of a repeated login is its workflow's."""
    body = login()
    door.report(body)
    door.rows("UPDATE step SET state = 'done' WHERE position = 0")
    assert door.report(body).json()["state"] == "running"
    door.rows("UPDATE workflow SET state = 'dead'")
    assert door.report(body).json()["state"] == "dead"


def test_another_login_under_the_same_key_is_409(door: Door) -> None:
    """A key is never silently reused for another login."""
    body = login()
    door.report(body)
    answer = door.report(body | {"ip": "192.0.2.1"})
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "event_id"
    assert door.count("workflow") == 1


def test_the_header_is_named_where_it_was_the_key(door: Door) -> None:
    """What was sent before is not the event_id."""
    door.report(login(), Idempotency_Key="once")
    answer = door.report(login(), Idempotency_Key="once")
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert "this Idempotency-Key was sent before" in answer.json()["detail"]


def test_a_body_that_was_forgotten_is_no_other(door: Door) -> None:
    """Retention has taken the digest, for the address could be found out from it."""
    body = login()
    first = door.report(body).json()
    door.rows("UPDATE idempotency_key SET body_sha256 = ''")
    again = door.report(body | {"ip": "192.0.2.1"})
    assert (again.status_code, again.json()["workflow_id"]) == (202, first["workflow_id"])


def test_the_header_stands_in_for_the_event_id(door: Door) -> None:
    """With Idempotency-Key a login needs no event_id, and gets the key as its own."""
    body = login()
    del body["event_id"]
    assert door.report(body).status_code == 422
    answer = door.report(body, Idempotency_Key="order-7")
    assert (answer.status_code, answer.json()["event_id"]) == (202, "order-7")


def test_the_header_goes_before_the_event_id(door: Door) -> None:
    """Two keys are two logins, whatever their event_id."""
    body = login()
    one = door.report(body, Idempotency_Key="a").json()
    two = door.report(body, Idempotency_Key="b").json()
    assert one["workflow_id"] != two["workflow_id"]
    assert one["event_id"] == two["event_id"] == body["event_id"]


def test_the_same_login_twice_at_once_is_one_workflow(door: Door) -> None:
    """Of twenty concurrent requests one is accepted, and all get its workflow."""
    body = login()
    answers = all_at_once([lambda: door.report(body)] * 20)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["workflow_id"] for answer in answers}) == 1
    assert [door.count(table) for table in TABLES] == [1, 1, 1, 5]


def test_different_logins_under_one_key_at_once_are_one_workflow_and_conflicts(door: Door) -> None:
    """Exactly one wins; the others hear of it."""
    body = login()
    calls = [(lambda ip=f"192.0.2.{n}": door.report(body | {"ip": ip})) for n in range(10)]
    answers = all_at_once(list(calls))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
    assert door.count("workflow") == 1


def test_overlapping_batches_at_once_neither_deadlock_nor_double(door: Door) -> None:
    """Batches with the same logins in opposite orders all succeed, each login once."""
    logins = [login() for _ in range(150)]
    calls = [lambda: door.report_batch(*logins), lambda: door.report_batch(*reversed(logins))] * 3
    answers = all_at_once(list(calls))
    assert {answer.status_code for answer in answers} == {200}
    assert door.count("workflow") == 150


def test_one_bad_login_does_not_stop_a_batch(door: Door) -> None:
    """Each login is answered by itself, in order."""
    good = [login() for _ in range(3)]
    taken = login()
    door.report(taken)
    batch = [
        good[0],
        login(ip="nowhere"),
        good[1],
        good[0],
        taken | {"ip": "192.0.2.9"},
        "not a login",
        good[2],
        login(event_id=None),
        login(user_id="\ud800"),
    ]
    content = json.dumps({"logins": batch})
    answer = door.client().post(
        "/v1/logins:batch", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [r["status"] for r in results] == [202, 422, 202, 202, 409, 422, 202, 422, 422]
    assert results[0]["workflow_id"] == results[3]["workflow_id"]
    assert results[1]["problem"]["errors"][0]["field"] == "ip"
    assert results[7]["problem"]["errors"][0]["field"] == "event_id"
    assert door.count("workflow") == 4


def test_a_batch_of_a_thousand_is_accepted(door: Door) -> None:
    """The largest batch goes through in one request."""
    answer = door.report_batch(*[login() for _ in range(MAX_BATCH)])
    assert answer.status_code == 200
    assert {result["state"] for result in answer.json()["results"]} == {"accepted"}
    assert door.count("workflow") == MAX_BATCH


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"logins": []}',
        b"\x00\xff",
        b'{"user_id": "\x00"}',
        b'{"user_id": 1, "user_id": 2}',
        b"[" * 60_000,
        b" " * 10_000_000,
    ],
    ids=lambda content: f"{content[:12]!r}x{len(content)}",
)
def test_a_bad_body_leaves_nothing_behind(door: Door, content: bytes) -> None:
    """Whatever comes in, the answer is a 4xx problem, and nothing is half-written."""
    for path in ("/v1/logins", "/v1/logins:batch"):
        answer = door.client().post(
            path, content=content, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500
        assert answer.headers["content-type"] == "application/problem+json"
    assert nothing_is_written(door)


@pytest.mark.parametrize(
    "changes",
    [
        {"ip": "2001:db8::17"},
        {"ip": "::ffff:10.1.2.3"},
        {"ip": "127.0.0.1"},
        {"user_agent": ""},
        {"user_agent": "\U0001f6aa" * 500},
        {"user_id": "a/b c'; DROP TABLE step; --\U0001f600"},
        {"locale": "pt-BR", "auth_method": "passkey"},
    ],
)
def test_unusual_but_valid_logins_are_stored_as_they_are(
    door: Door, changes: dict[str, Any]
) -> None:
    """What passes the checks also passes the database."""
    assert door.report(login(**changes)).status_code == 202
    [(stored,)] = door.rows("SELECT row_to_json(reported_login) FROM reported_login")
    for field, value in changes.items():
        assert stored[field] == value.removeprefix("::ffff:")


@pytest.mark.parametrize("user_id", [".", ".."])
def test_a_user_whom_no_address_can_name_is_refused(door: Door, user_id: str) -> None:
    """Clients would take the id out of the address of the user's switches, and whom a verdict locks would get in."""
    alone = door.report(login(user_id=user_id))
    together = door.report_batch(login(), login(user_id=user_id))
    [good, bad] = together.json()["results"]
    assert (alone.status_code, good["status"], bad["status"]) == (422, 202, 422)
    for problem in (alone.json(), bad["problem"]):
        [error] = problem["errors"]
        assert (error["field"], "must not be . or .." in error["message"]) == ("user_id", True)


@pytest.mark.parametrize("user_id", [".", ".."])
def test_such_a_user_of_before_can_be_asked_about(door: Door, user_id: str) -> None:
    """By whoever does not take the id out of the address, and everywhere else."""
    workflow_id = door.report(login(user_id="ada")).json()["workflow_id"]
    door.rows("UPDATE workflow SET user_id = %s", user_id)
    door.rows("INSERT INTO switch VALUES ('shop', %s, 'locked', true, now())", user_id)
    [found] = door.client().get("/v1/workflows", params={"user_id": user_id}).json()["workflows"]
    assert found["workflow_id"] == workflow_id
    asking = HTTPConnection(door.url.removeprefix("http://"), timeout=10)
    asking.request(
        "GET", f"/v1/users/{user_id}/switches", headers={"Authorization": f"Bearer {KEYS['shop']}"}
    )
    answer = json.load(asking.getresponse())
    asking.close()
    assert (answer["user_id"], answer["switches"]["locked"]["is_on"]) == (user_id, True)


def test_a_batch_takes_no_key_of_its_own(door: Door) -> None:
    """A header that would be ignored is refused instead."""
    answer = door.client().post(
        "/v1/logins:batch", json={"logins": [login()]}, headers={"Idempotency-Key": "k"}
    )
    assert answer.status_code == 400
    assert nothing_is_written(door)


def test_a_key_whose_workflow_was_removed_is_gone(door: Door) -> None:
    """Retention may have taken the workflow: the login is still not accepted twice."""
    body = login()
    door.report(body)
    door.rows("DELETE FROM workflow")
    assert door.report(body).status_code == 410
    assert door.count("workflow") == 0


def test_repeated_reports_take_no_place_of_those_that_monitors_are_shown(door: Door) -> None:
    """Of more new logins than they can follow, the rest says of itself that it is not shown."""
    known = login()
    for _ in range(4 * int(MOST_WORKFLOWS_PER_SECOND)):
        door.report(known)
    fresh = door.report(login(event_id="fresh")).json()["workflow_id"]
    many = [login(event_id=f"many-{number}") for number in range(100)]
    door.report_batch(*many)
    shown = {
        str(workflow): is_shown(label)
        for workflow, label in door.rows(
            "SELECT workflow_id, message->'headers'->>'kwargsrepr' FROM step WHERE message IS NOT NULL"
        )
    }

    assert shown[fresh] is True
    assert set(shown.values()) == {True, False}
    assert 2 <= list(shown.values()).count(True) <= 4 * MOST_WORKFLOWS_PER_SECOND
