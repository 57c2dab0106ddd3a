"""Asking a real HTTP server for verdicts, in good and in bad days."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from services.adapters import outlier_api
from services.adapters.breaker import PostgresBreaker
from services.adapters.networks import AddressData
from services.adapters.outlier_api import BATCH_LIMIT, LEARN_LIMIT, HttpOutlierApi
from services.domain.errors import Refused, Unavailable
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed, Wire
from services.handlers.records import SavedLogin
from services.handlers.score_login import score_logins
from services.outlier import contract
from services.outlier.contract import LearnBatch, ScoreBatch, ScoreRequest
from tests.integration.adapters.conftest import AT, FIREFOX, World
from tests.integration.adapters.servers import (
    HttpServer,
    Received,
    drip,
    http_server,
    raw_server,
    reset,
)


def _answer_to(asked: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    answer = {
        "request_id": asked["request_id"],
        "score": 2.5,
        "level": "high",
        "action": "challenge",
        "reasons": ["new_device"],
        "model_version": "m1",
        "new_field": "of a later contract",
    }
    return answer | changes


def _good(request: Received, **changes: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(_answer_to(request.json(), **changes)).encode()


@pytest.fixture
def login() -> SavedLogin:
    return SavedLogin(
        workflow_id=uuid4(),
        tenant_id="shop",
        user_id="ada",
        occurred_at=AT,
        ip="203.0.113.7",
        user_agent=FIREFOX,
        auth_method="password",
        is_device_known=False,
    )


@pytest.fixture
def api_server() -> Iterator[HttpServer]:
    with http_server(_good) as running:
        yield running


@contextmanager
def _api(url: str) -> Iterator[HttpOutlierApi]:
    api = HttpOutlierApi(url, AddressData(), "key")
    try:
        yield api
    finally:
        api.close()


def test_a_verdict_comes_back(api_server: HttpServer, login: SavedLogin) -> None:
    """The request keeps the contract with the workflow's id; the answer becomes a verdict."""
    with _api(api_server.url + "/") as api:
        (verdict,) = api.score([login])
        assert isinstance(verdict, Verdict)
    assert (verdict.level, verdict.action, verdict.score) == ("high", "challenge", 2.5)
    assert verdict.workflow_id == login.workflow_id
    (request,) = api_server.received
    assert request.path == "/v1/score"
    assert request.headers["idempotency-key"] == str(login.workflow_id)
    assert request.headers["authorization"] == "Bearer key"
    asked = ScoreRequest.model_validate_json(request.body)
    assert asked.ip_network == "203.0.113.0/24"
    assert asked.user_agent.browser == "Firefox 143"
    assert asked.device_known is False


def test_the_country_is_told_where_it_is_known(api_server: HttpServer, login: SavedLogin) -> None:
    """Of the registry's data; a network of documentation is of none."""
    with _api(api_server.url) as api:
        api.score([login])
        api.score([replace(login, ip="84.56.1.2")])
    unknown, known = (ScoreRequest.model_validate_json(it.body) for it in api_server.received)
    assert (unknown.country, known.country, known.ip_network) == (None, "DE", "84.56.1.0/24")


def test_asked_again_with_other_facts_there_is_an_answer(
    api_server: HttpServer, login: SavedLogin
) -> None:
    """The API knows the key from a request before an update: it is asked under another, always the same."""
    api_server.reply = lambda request: (
        (409, {}, b"{}")
        if request.headers["idempotency-key"] == str(login.workflow_id)
        else _good(request)
    )
    with _api(api_server.url) as api:
        verdicts = api.score([login]) + api.score([login])
    assert [isinstance(each, Verdict) and each.level for each in verdicts] == ["high", "high"]
    keys = [it.headers["idempotency-key"] for it in api_server.received]
    assert keys == [str(login.workflow_id), keys[1]] * 2
    assert keys[1].startswith(f"{login.workflow_id}-")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 302])
def test_later_means_unavailable(api_server: HttpServer, login: SavedLogin, status: int) -> None:
    """Answers that may be better next time are tried again; a redirect is not followed."""
    api_server.reply = lambda _: (status, {"Location": api_server.url}, b"")
    with _api(api_server.url) as api:
        (answer,) = api.score([login])
    assert isinstance(answer, Unavailable)
    assert str(status) in str(answer)
    assert len(api_server.received) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_wrong_request_is_refused(api_server: HttpServer, login: SavedLogin, status: int) -> None:
    """What cannot get better is not tried again."""
    api_server.reply = lambda _: (status, {}, b"{}")
    with _api(api_server.url) as api:
        (answer,) = api.score([login])
    assert isinstance(answer, Refused)
    assert str(status) in str(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": "2.5"},
        {"score": float("nan")},
        {"score": -1},
        {"level": "unscored"},
        {"action": "explode"},
        {"reasons": "new_device"},
        {"reasons": ["x\x00"]},
        {"reasons": ["x"] * 100},
        {"model_version": None},
        {"request_id": "another"},
    ],
)
def test_an_answer_that_breaks_the_contract_is_not_believed(
    api_server: HttpServer, login: SavedLogin, changes: dict[str, Any]
) -> None:
    """Wrong types, values out of range and another login's answer count as no answer."""
    api_server.reply = lambda request: _good(request, **changes)
    with _api(api_server.url) as api:
        assert isinstance(api.score([login])[0], Unavailable)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"\xff\xfe", b'{"score":', b" " * 100_000]
)
def test_rubbish_is_no_answer(api_server: HttpServer, login: SavedLogin, body: bytes) -> None:
    """A 200 with something else than an answer is tried again."""
    api_server.reply = lambda _: (200, {}, body)
    with _api(api_server.url) as api:
        assert isinstance(api.score([login])[0], Unavailable)


def test_nobody_there_is_unavailable(login: SavedLogin) -> None:
    """A refused connection is tried again."""
    with _api("http://127.0.0.1:9") as api:
        assert isinstance(api.score([login])[0], Unavailable)


def test_a_reset_connection_is_unavailable(login: SavedLogin) -> None:
    """A connection that is cut is tried again."""
    with raw_server(reset) as (host, port), _api(f"http://{host}:{port}") as api:
        assert isinstance(api.score([login])[0], Unavailable)


def test_a_drip_of_bytes_ends_at_the_deadline(
    login: SavedLogin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then, so that no read times out, is left in time."""
    monkeypatch.setattr(outlier_api, "OVERALL_SECONDS", 0.5)
    with raw_server(drip) as (host, port), _api(f"http://{host}:{port}") as api:
        started = time.monotonic()
        assert isinstance(api.score([login])[0], Unavailable)
    assert time.monotonic() - started < 2


def _together(request: Received) -> tuple[int, dict[str, str], bytes]:
    asked = request.json()["requests"]
    answers = [_answer_to(each, score=float(place)) for place, each in enumerate(asked)]
    return 200, {}, json.dumps({"answers": answers, "more": "of a later contract"}).encode()


def _several(login: SavedLogin, number: int = 3) -> list[SavedLogin]:
    return [replace(login, workflow_id=uuid4(), user_id=f"user-{n}") for n in range(number)]


def test_several_are_asked_about_together(api_server: HttpServer, login: SavedLogin) -> None:
    """One request that keeps the contract; each login gets its own answer."""
    api_server.reply = _together
    logins = _several(login)
    with _api(api_server.url) as api:
        verdicts = api.score(logins)
    assert [(it.workflow_id, it.score) for it in verdicts if isinstance(it, Verdict)] == [
        (each.workflow_id, float(place)) for place, each in enumerate(logins)
    ]
    (request,) = api_server.received
    assert request.path == "/v1/score:batch"
    assert request.headers["authorization"] == "Bearer key"
    asked = ScoreBatch.model_validate_json(request.body).requests
    assert [each.request_id for each in asked] == [str(each.workflow_id) for each in logins]


def test_no_list_is_longer_than_the_contract_allows(
    api_server: HttpServer, login: SavedLogin
) -> None:
    """What is more goes into another request."""
    api_server.reply = _together
    with _api(api_server.url) as api:
        verdicts = api.score(_several(login, BATCH_LIMIT + 1) + _several(login, BATCH_LIMIT - 1))
    assert len({it.workflow_id for it in verdicts if isinstance(it, Verdict)}) == 2 * BATCH_LIMIT
    assert [len(it.json()["requests"]) for it in api_server.received] == [BATCH_LIMIT] * 2
    assert BATCH_LIMIT == contract.BATCH_LIMIT


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_api_that_takes_one_at_a_time_is_asked_so(
    api_server: HttpServer, login: SavedLogin, status: int
) -> None:
    """It is asked for lists once, not each time; all logins have their verdicts."""
    api_server.reply = lambda request: (
        (status, {}, b"{}") if request.path.endswith(":batch") else _good(request)
    )
    with _api(api_server.url) as api:
        verdicts = api.score(_several(login)) + api.score(_several(login))
    assert [isinstance(each, Verdict) for each in verdicts] == [True] * 6
    paths = [it.path for it in api_server.received]
    assert (paths[0], paths.count("/v1/score")) == ("/v1/score:batch", 6)
    assert len(paths) == 7


def test_a_wrong_login_in_a_list_is_refused_alone(
    api_server: HttpServer, login: SavedLogin
) -> None:
    """The API refuses the whole list: asked singly, the others have their verdicts, and lists go on."""
    logins = _several(login)

    def reply(request: Received) -> tuple[int, dict[str, str], bytes]:
        is_wrong = str(logins[1].workflow_id) in request.body.decode()
        if is_wrong:
            return 422, {}, b"{}"
        return _together(request) if request.path.endswith(":batch") else _good(request)

    api_server.reply = reply
    with _api(api_server.url) as api:
        answers = api.score(logins)
        api.score(_several(login))
    assert [type(each) for each in answers] == [Verdict, Refused, Verdict]
    assert [it.path for it in api_server.received].count("/v1/score:batch") == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_no_answer_to_a_list_is_none_to_each(
    api_server: HttpServer, login: SavedLogin, status: int
) -> None:
    """An API that cannot answer is not asked about each login on top."""
    api_server.reply = lambda _: (status, {}, b"")
    with _api(api_server.url) as api:
        answers = api.score(_several(login))
    assert [type(each) for each in answers] == [Unavailable] * 3
    assert len(api_server.received) == 1


def test_in_a_list_a_broken_answer_is_its_logins_alone(
    api_server: HttpServer, login: SavedLogin
) -> None:
    """The others are believed; another login's answer is not."""
    logins = _several(login)

    def reply(request: Received) -> tuple[int, dict[str, str], bytes]:
        asked = request.json()["requests"]
        answers = [_answer_to(each) for each in asked]
        answers[0]["level"] = "unscored"
        answers[1]["request_id"] = answers[2]["request_id"]
        return 200, {}, json.dumps({"answers": answers}).encode()

    api_server.reply = reply
    with _api(api_server.url) as api:
        assert [type(it) for it in api.score(logins)] == [Unavailable, Unavailable, Verdict]


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"answers": []}', b'{"answers": 3}', b" " * 9])
def test_rubbish_answers_no_login_of_a_list(
    api_server: HttpServer, login: SavedLogin, body: bytes
) -> None:
    """Also an answer for too few of them: nobody knows whose it is."""
    api_server.reply = lambda _: (200, {}, body)
    with _api(api_server.url) as api:
        assert [type(it) for it in api.score(_several(login))] == [Unavailable] * 3


def test_the_handler_asks_about_the_group_s_login(world: World, api_server: HttpServer) -> None:
    """The group's results lead to the stored login, and its verdict is the outcome."""
    workflow_id = str(world.saved().workflow_id)
    results: list[Wire] = [{"workflow_id": workflow_id, "notices": 0}, {"workflow_id": workflow_id}]
    with _api(api_server.url) as api:
        breaker = PostgresBreaker(world.connect, "api")
        (outcome,) = score_logins([results], world.directly, api, breaker)
    assert isinstance(outcome, Done)
    assert outcome.result["level"] == "high"


def test_an_open_breaker_spares_the_api(world: World, api_server: HttpServer) -> None:
    """After five failures the sixth login is not sent; it is unavailable at once."""
    api_server.reply = lambda _: (503, {}, b"")
    results = [{"workflow_id": str(world.saved().workflow_id)}]
    breaker = PostgresBreaker(world.connect, "api")
    with _api(api_server.url) as api:
        outcomes = [score_logins([results], world.directly, api, breaker)[0] for _ in range(6)]
    assert all(isinstance(o, Failed) and isinstance(o.error, Unavailable) for o in outcomes)
    assert len(api_server.received) == 5


def test_logins_of_before_are_learned_in_lists(api_server: HttpServer, login: SavedLogin) -> None:
    """In order, no list longer than the contract allows, and what is no answer is none."""
    api_server.reply = lambda _: (200, {}, b'{"learned": 3, "more": 1}')
    logins = _several(login, LEARN_LIMIT + 1)
    with _api(api_server.url) as api:
        api.learn(logins)
        asked = [LearnBatch.model_validate_json(it.body).requests for it in api_server.received]
        assert [each.request_id for it in asked for each in it] == [
            str(each.workflow_id) for each in logins
        ]
        assert {it.path for it in api_server.received} == {"/v1/learn:batch"}
        assert LEARN_LIMIT == contract.LEARN_LIMIT
        for status, body in ((200, b"{}"), (503, b""), (429, b"")):
            api_server.reply = lambda _, status=status, body=body: (status, {}, body)
            with pytest.raises(Unavailable):
                api.learn(logins[:2])


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_api_that_does_not_learn_lists_is_asked_for_scores(
    api_server: HttpServer, login: SavedLogin, status: int
) -> None:
    """Which teaches it too; whether it learns lists is asked once."""

    def reply(request: Received) -> tuple[int, dict[str, str], bytes]:
        return (status, {}, b"{}") if request.path == "/v1/learn:batch" else _together(request)

    api_server.reply = reply
    with _api(api_server.url) as api:
        api.learn(_several(login))
        api.learn(_several(login))
    paths = [it.path for it in api_server.received]
    assert paths == ["/v1/learn:batch", "/v1/score:batch", "/v1/score:batch"]


def test_a_login_that_the_api_refuses_keeps_no_other_from_being_learned(
    api_server: HttpServer, login: SavedLogin
) -> None:
    """Its list is refused; asked singly, the others are learned."""
    logins = _several(login)

    def reply(request: Received) -> tuple[int, dict[str, str], bytes]:
        if request.path.endswith(":batch") or request.json()["user_id"] == "user-1":
            return 422, {}, b"{}"
        return _good(request)

    api_server.reply = reply
    with _api(api_server.url) as api:
        api.learn(logins)
    assert [it.path for it in api_server.received].count("/v1/score") == 3
