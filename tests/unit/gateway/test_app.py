"""The application without any service: documents, refusals, and what needs no database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from psycopg_pool import PoolTimeout

from services.domain.errors import Unavailable
from services.gateway.app import make_app
from services.gateway.outbox import PublishesMessages
from services.gateway.plans import Plans
from services.gateway.rates import Caller
from services.gateway.reports import read_report
from services.ledger.planning import Plan


def no_plan(*_: object) -> Plan:
    """Of a canvas without steps: nothing is accepted here."""
    return Plan(())


NO_PLANS = Plans((), (), *[no_plan] * (len(fields(Plans)) - 3), ())


def no_publisher() -> PublishesMessages:
    raise AssertionError("nothing is published here")


@pytest.fixture
def app() -> FastAPI:
    app = make_app("postgresql://127.0.0.1:1/none", NO_PLANS, no_publisher)
    # As if the key `k` had just been looked up.
    app.state.parts.keys.cached = lambda _: Caller("acme")
    return app


def ask(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.9", 1))
        headers = {"Authorization": "Bearer k"} | options.pop("headers", {})
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.request(method, path, headers=headers, **options)

    return asyncio.run(send())


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    document: dict[str, Any] = response.json()
    assert response.status_code == status == document["status"]
    assert response.headers["content-type"] == "application/problem+json"
    assert document["title"]
    assert document["detail"]
    return document


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/logins/", {}, 404),
        ("GET", "/docs/static/nothing", {}, 404),
        ("GET", "/v1/logins", {}, 405),
        ("DELETE", "/v1/workflows", {}, 405),
        ("POST", "/v1/logins", {"content": "{}"}, 415),
        ("POST", "/v1/logins", {"data": {"a": "b"}}, 415),
        ("POST", "/v1/logins", {"content": "x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/logins", {"content": "", "headers": JSON}, 400),
        ("POST", "/v1/logins", {"content": "{", "headers": JSON}, 400),
        ("POST", "/v1/logins", {"content": b"\xff", "headers": JSON}, 400),
        ("POST", "/v1/logins", {"content": "[" * 60_000, "headers": JSON}, 400),
        ("POST", "/v1/logins", {"json": {}, "headers": {"Content-Encoding": "gzip"}}, 415),
        ("POST", "/v1/logins", {"json": {}, "headers": {"Idempotency-Key": ""}}, 422),
        ("POST", "/v1/logins", {"json": {}, "headers": {"Idempotency-Key": "k" * 201}}, 422),
        ("POST", "/v1/logins", {"json": []}, 422),
        ("POST", "/v1/logins", {"json": {"\ud800": "\ud800"}}, 422),
        ("POST", "/v1/logins:batch", {"json": []}, 422),
        ("POST", "/v1/logins:batch", {"json": {}}, 422),
        ("POST", "/v1/logins:batch", {"json": {"logins": []}}, 422),
        ("POST", "/v1/logins:batch", {"json": {"logins": {}}}, 422),
        ("POST", "/v1/logins:batch", {"json": {"logins": [1] * 1001}}, 422),
        ("POST", "/v1/logins:batch", {"json": {"logins": [1], "x": 1}}, 422),
        ("POST", "/v1/logins:batch", {"json": {}, "headers": {"Idempotency-Key": "k"}}, 400),
        ("GET", "/v1/workflows/7", {}, 422),
        ("GET", "/v1/workflows", {}, 422),
        ("GET", "/v1/workflows?user_id=", {}, 422),
        ("GET", "/v1/workflows?user_id=u&limit=101", {}, 422),
        ("GET", "/v1/workflows?user_id=u&limit=x", {}, 422),
        ("GET", "/v1/workflows?user_id=u&cursor=x", {}, 422),
        ("GET", "/v1/workflows?user_id=%00", {}, 422),
        ("GET", f"/v1/users/{'u' * 201}/devices", {}, 422),
        ("GET", "/v1/users/a%00b/switches", {}, 422),
        ("POST", "/v1/users/a%00b/export", {}, 422),
        ("GET", "/v1/exports/7", {}, 422),
        ("POST", "/v1/users/a%00b/erase", {}, 422),
        ("GET", "/v1/erasures/7", {}, 422),
        ("GET", "/v1/incidents/7", {}, 422),
        ("POST", "/v1/incidents", {"json": []}, 422),
        ("POST", "/v1/incidents", {"json": {"users": ["ada"]}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked"}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "users": []}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "users": ["a\0b"]}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "users": ["u"] * 10_001}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "network": "192.0.2.0/24"}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "users": ["u"], "x": 1}}, 422),
        ("POST", "/v1/incidents", {"json": {"switch": "locked", "asn": 64500}}, 422),
        ("POST", "/v1/incidents/7/stop", {}, 422),
        ("POST", "/v1/incidents/7/undo", {}, 422),
        ("POST", "/v1/users/a%00b/digest", {}, 422),
        ("POST", "/v1/users/ada/digest?date=tomorrow", {}, 422),
        ("POST", "/v1/users/ada/digest?date=1700000000", {}, 422),
        ("GET", "/v1/imports/7", {}, 422),
        ("POST", "/v1/imports/7/begin", {}, 422),
        ("POST", "/v1/imports", {"json": {"key": "a b"}}, 422),
        ("POST", "/v1/imports", {"json": []}, 422),
        ("GET", "/metrics", {}, 403),
        ("GET", "/metrics", {"headers": {"X-Forwarded-For": "127.0.0.1"}}, 403),
        ("GET", "/v1/workflows?user_id=u", {"headers": {"Authorization": "Basic x"}}, 401),
        ("POST", "/v1/logins", {"headers": {"Authorization": ""}}, 401),
    ],
)
def test_every_refusal_is_a_problem_document(
    app: FastAPI, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """Whatever is wrong with a request, the answer has one shape and says what is wrong."""
    if isinstance(options.get("json"), dict) and "\ud800" in options["json"]:
        options = {"content": b'{"\\ud800": "\\ud800"}', "headers": JSON}
    document = assert_problem(ask(app, method, path, **options), status)
    if status == 422:
        assert document["errors"]


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/logins", 64 * 1024), ("/v1/logins:batch", 4 * 1024 * 1024)]
)
def test_a_large_body_is_413_with_and_without_a_length(app: FastAPI, path: str, limit: int) -> None:
    """The limit holds while reading, not only for those who announce the size."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * (limit // 10)

    for content in (b" " * (limit + 1), chunks()):
        document = assert_problem(ask(app, "POST", path, content=content, headers=JSON), 413)
        assert f"{limit // 1024} KiB" in document["detail"]


def test_a_body_of_exactly_the_limit_is_read(app: FastAPI) -> None:
    """The limit itself is not too large."""
    response = ask(app, "POST", "/v1/logins", content=b" " * (64 * 1024), headers=JSON)
    assert_problem(response, 400)


def test_405_lists_the_methods(app: FastAPI) -> None:
    """A caller learns which method the address takes."""
    assert ask(app, "GET", "/v1/logins").headers["allow"] == "POST"


def test_an_unexpected_error_is_500_and_tells_nothing(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own mistakes are problem documents too, without a stack trace."""

    async def broken(_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app.state.parts, "read", broken)
    response = ask(app, "GET", "/v1/users/u/devices")
    assert_problem(response, 500)
    assert "secret" not in response.text


def test_an_overfull_outbox_sheds_logins(app: FastAPI) -> None:
    """Above the bound a login is refused with the time to wait, and counted as shed."""
    parts = app.state.parts
    parts.backlog.messages = 100_001
    login = {
        "event_id": "e",
        "user_id": "u",
        "occurred_at": "2030-01-31T08:15:00Z",
        "ip": "192.0.2.1",
        "user_agent": "",
    }
    single = ask(app, "POST", "/v1/logins", json=_now(login))
    batch = ask(app, "POST", "/v1/logins:batch", json={"logins": [_now(login)]})
    for response in (single, batch):
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "2"
    value = parts.metrics.registry.get_sample_value
    assert value("doorbell_logins_total", {"outcome": "shed"}) == 2


@pytest.mark.parametrize("path", ["/v1/logins", "/v1/logins:batch"])
@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (PoolTimeout("away"), 503, "unavailable"),
        (Unavailable("away"), 503, "unavailable"),
        (ZeroDivisionError("ours"), 500, "error"),
    ],
)
def test_a_report_whose_key_cannot_be_looked_up_is_counted(
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    error: Exception,
    status: int,
    outcome: str,
) -> None:
    """What users feel counts, however early on its way a report was refused."""

    async def broken(_: object) -> None:
        raise error

    parts = app.state.parts
    monkeypatch.setattr(parts, "read", broken)
    monkeypatch.setattr(parts.keys, "cached", lambda _: None)
    assert_problem(ask(app, "POST", path, json={}), status)
    counted = parts.metrics.registry.get_sample_value("doorbell_logins_total", {"outcome": outcome})
    assert counted == 1


@pytest.mark.parametrize(
    ("path", "logins"), [("/v1/logins", 1), ("/v1/logins:batch", 1), ("/v1/logins:batch", 3)]
)
def test_a_login_that_the_ledger_does_not_take_is_counted_once(
    app: FastAPI, path: str, logins: int
) -> None:
    """Each login of a batch by itself; the whole's being 503 adds nothing."""
    parts = app.state.parts
    login = _now(
        {"event_id": "e", "user_id": "u", "occurred_at": "", "ip": "192.0.2.1", "user_agent": ""}
    )
    body = login if path == "/v1/logins" else {"logins": [login] * logins}
    # The intake is not open: nobody takes what is submitted.
    assert_problem(ask(app, "POST", path, json=body), 503)
    value = parts.metrics.registry.get_sample_value
    assert value("doorbell_logins_total", {"outcome": "shed"}) == logins


def _now(login: dict[str, str]) -> dict[str, str]:
    return login | {"occurred_at": datetime.now(UTC).isoformat()}


def test_healthz_needs_nothing(app: FastAPI) -> None:
    """Being alive depends on no other service and on no key."""
    response = ask(app, "GET", "/healthz", headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_the_documentation_needs_no_other_host(app: FastAPI) -> None:
    """/docs works in a network without the internet."""
    page = ask(app, "GET", "/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    assert ask(app, "GET", "/docs/static/swagger-ui-bundle.js").status_code == 200


def test_every_route_is_described_in_full(app: FastAPI) -> None:
    """Each operation has a summary, a success with a schema, and its problems."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert set(document["paths"]) == {
        "/v1/logins",
        "/v1/logins:batch",
        "/v1/workflows",
        "/v1/workflows/{workflow_id}",
        "/v1/users/{user_id}/devices",
        "/v1/users/{user_id}/switches",
        "/v1/users/{user_id}/export",
        "/v1/exports/{workflow_id}",
        "/v1/users/{user_id}/erase",
        "/v1/erasures/{erasure_id}",
        "/v1/incidents",
        "/v1/incidents/{incident_id}",
        "/v1/incidents/{incident_id}/stop",
        "/v1/incidents/{incident_id}/undo",
        "/v1/users/{user_id}/digest",
        "/v1/imports",
        "/v1/imports/{import_id}",
        "/v1/imports/{import_id}/logins",
        "/v1/imports/{import_id}/begin",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if path.startswith("/v1/"):
                assert operation["security"]
                assert {"401", "422", "503"} <= set(operation["responses"])
    _walk_references(document, lambda name: name in schemas)
    report, errors = read_report(schemas["Login"]["example"])
    assert report is not None, errors
    assert "HTTPValidationError" not in str(document)


def _walk_references(value: Any, exists: Callable[[str], bool]) -> None:
    if isinstance(value, dict):
        if "$ref" in value:
            assert exists(value["$ref"].removeprefix("#/components/schemas/")), value
        for inner in value.values():
            _walk_references(inner, exists)
    elif isinstance(value, list):
        for inner in value:
            _walk_references(inner, exists)
