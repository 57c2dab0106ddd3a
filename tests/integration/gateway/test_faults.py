"""While the broker or the database is away: what the gateway answers, and how it recovers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from services.gateway import outbox
from tests.integration.gateway.door import (
    KEYS,
    NO_BROKER,
    Door,
    add_tenants,
    login,
    opened_door,
    wait_until,
)
from tests.support.broker import TOPOLOGY, url_of
from tests.support.fleet import with_the_topology
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

UNPUBLISHED = "SELECT count(*) FROM step WHERE state = 'ready' AND published_at IS NULL"
FIRST_QUEUE = TOPOLOGY.tasks["device_checks.check_device"].queue


@pytest.fixture
def mortal_postgres() -> Iterator[PrivatePostgres]:
    """A server of its own, to be killed."""
    with PrivatePostgres() as running:
        yield running


@pytest.fixture(scope="module")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


def test_without_a_broker_logins_are_accepted_and_wait(database_url: str) -> None:
    """Broker down at intake: 202, and the message waits in the ledger for the relay."""
    with opened_door(database_url, NO_BROKER) as door:
        assert [door.report(login()).status_code for _ in range(3)] == [202] * 3
        assert door.report_batch(login(), login()).status_code == 200
        assert door.rows(UNPUBLISHED) == [(5,)]
        wait_until(lambda: door.parts.backlog.messages == 5)
        wait_until(lambda: door.read("/readyz").json()["broker"] == "unreachable")
        ready = door.read("/readyz")
        assert (ready.status_code, ready.json()["outbox_messages"]) == (200, 5)


def test_with_a_broker_the_first_message_goes_out_at_once(
    database_url: str, node: PrivateRabbitMQ
) -> None:
    """The gateway's own user may publish, and what is confirmed is marked."""
    node.manage("DELETE", f"queues/{TOPOLOGY.vhost}/{FIRST_QUEUE}/contents")
    with opened_door(database_url, url_of(node, "gateway")) as door:
        door.report(login())
        wait_until(lambda: door.rows(UNPUBLISHED) == [(0,)])
        assert door.read("/readyz").json()["broker"] == "reachable"
        [message] = _messages(node)
        assert message["properties"]["headers"]["task"] == "device_checks.check_device"
        [(step_id, workflow_id)] = door.rows(
            "SELECT id, workflow_id::text FROM step WHERE position = 0"
        )
        assert message["properties"]["correlation_id"] == step_id
        assert workflow_id in message["payload"]
        assert "203.0.113.7" not in message["payload"]


def test_the_gateway_publishes_again_when_the_broker_is_back(
    database_url: str, node: PrivateRabbitMQ
) -> None:
    """A broker that restarts costs no login and no restart of the gateway."""
    with opened_door(database_url, url_of(node, "gateway")) as door:
        door.report(login())
        wait_until(lambda: door.rows(UNPUBLISHED) == [(0,)])
        node.stop()
        assert door.report(login()).status_code == 202
        wait_until(lambda: door.parts.outbox.broker == "unreachable")
        node.start()

        def is_published() -> bool:
            """A login of its own each time: what was refused meanwhile waits for the relay."""
            workflow_id = door.report(login()).json()["workflow_id"]
            return wait_until(lambda: _fate(door, workflow_id)) == "published"

        wait_until(is_published, seconds=60)


def test_an_absent_database_is_503_and_the_same_request_succeeds_once_later(
    mortal_postgres: PrivatePostgres,
) -> None:
    """503 with Retry-After; then the same request is accepted, as one workflow."""
    with mortal_postgres.database() as url:
        add_tenants(url)
        with opened_door(url) as door:
            known, unknown = login(), login()
            accepted = door.report(known).json()
            mortal_postgres.kill()
            for answer in (
                door.report(unknown),
                door.report_batch(unknown, login()),
                door.read(f"/v1/workflows/{accepted['workflow_id']}"),
                door.read("/readyz"),
            ):
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "2"
                assert answer.headers["content-type"] == "application/problem+json"
            assert door.read("/healthz").status_code == 200
            mortal_postgres.start()
            wait_until(lambda: door.report(unknown).status_code == 202, seconds=10)
            assert door.report(known).json() == accepted
            assert door.count("workflow") == 2
            assert door.read("/readyz").status_code == 200


def test_a_key_cannot_be_checked_without_a_database(mortal_postgres: PrivatePostgres) -> None:
    """An absent database is not an unknown key: 503, not 401."""
    with mortal_postgres.database() as url:
        add_tenants(url)
        with opened_door(url) as door:
            mortal_postgres.kill()
            headers = {"Authorization": f"Bearer {KEYS['bank']}"}
            answer = httpx.post(f"{door.url}/v1/logins", json=login(), headers=headers, timeout=30)
            assert answer.status_code == 503
            mortal_postgres.start()


def test_an_interrupted_transaction_is_asked_again(door: Door) -> None:
    """Sessions that the database ends in the middle cost no login and double none."""
    logins = [login() for _ in range(40)]
    statuses: list[int] = []
    for number, body in enumerate(logins):
        if number % 10 == 5:
            door.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'doorbell-gateway'"
            )
        while (status := door.report(body).status_code) != 202:
            statuses.append(status)
    assert set(statuses) <= {503}
    assert len(statuses) <= 20
    assert door.count("workflow") == 40


def test_above_the_bound_logins_are_shed_and_taken_again_below_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More unpublished messages than the bound: 503, until the broker has caught up."""
    monkeypatch.setattr(outbox, "MAX_UNPUBLISHED", 3)
    statuses = [door.report(login()).status_code for _ in range(4)]
    assert statuses == [202] * 4
    wait_until(lambda: door.parts.backlog.is_full)
    answer = door.report(login())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert door.read("/readyz").status_code == 503
    door.rows("UPDATE step SET published_at = now() WHERE state = 'ready'")
    wait_until(lambda: door.report(login()).status_code == 202)


def test_commits_that_wait_for_no_standby_are_not_ready(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once logins are refused for it; reading is possible all the time, and says so."""
    monkeypatch.setattr(outbox, "STANDBY_SECONDS", 0.1)
    assert door.read("/readyz").status_code == 200
    administer = psycopg.connect(door.database_url, autocommit=True)
    administer.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    administer.execute("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: door.read("/readyz").status_code == 503)
        assert "standby" in door.read("/readyz").json()["detail"]
    finally:
        administer.execute("ALTER SYSTEM RESET synchronous_standby_names")
        administer.execute("SELECT pg_reload_conf()")
        administer.close()
    wait_until(lambda: door.read("/readyz").status_code == 200)


def test_a_read_only_database_is_not_ready_but_alive(door: Door) -> None:
    """Writes that the database refuses for now are 503 as well."""
    [(name,)] = door.rows("SELECT current_database()")
    door.rows(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    door.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'doorbell-gateway'"
    )
    assert door.report(login()).status_code == 503
    assert door.read("/healthz").status_code == 200


def test_metrics_tell_what_happened(door: Door) -> None:
    """Each login is counted once by its outcome."""
    body = login()
    door.report(body)
    door.report(body)
    door.report(body | {"ip": "192.0.2.1"})
    door.report(login(ip="nowhere"))
    text = door.read("/metrics").text
    for outcome, count in (("accepted", 1), ("repeated", 1), ("conflict", 1), ("invalid", 1)):
        assert f'doorbell_logins_total{{outcome="{outcome}"}} {count}.0' in text
    assert 'doorbell_request_duration_seconds_count{outcome="2xx"}' in text
    assert "doorbell_outbox_lag_seconds" in text


def _fate(door: Door, workflow_id: str) -> str | None:
    [(published_at,)] = door.rows(
        "SELECT published_at FROM step WHERE workflow_id = %s AND position = 0", workflow_id
    )
    if published_at is not None:
        return "published"
    return "left" if door.parts.outbox.broker == "unreachable" else None


def _messages(node: PrivateRabbitMQ) -> list[dict[str, Any]]:
    request = {"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"}
    path = f"queues/{TOPOLOGY.vhost}/{FIRST_QUEUE}/get"
    messages: list[dict[str, Any]] = node.manage("POST", path, request)
    return messages
