"""`doorbell topology verify` and `doctor` against a real broker."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from services.ledger.drains import Scope, drain
from tests.integration.cli.conftest import Run, write_endpoints
from tests.support.broker import TOPOLOGY
from tests.support.fleet import wait_until, with_the_topology
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="module")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture
def cluster(
    node: PrivateRabbitMQ, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PrivateRabbitMQ:
    """The node as a local cluster's: known from endpoints.json alone, as the user `operator`."""
    write_endpoints(node, database_url, tmp_path, monkeypatch)
    return node


def test_a_broker_with_the_topology_agrees(cluster: PrivateRabbitMQ, doorbell: Run) -> None:
    """The operator's own account may look."""
    assert doorbell("topology", "verify") == (0, [])


def test_a_difference_is_named(cluster: PrivateRabbitMQ, doorbell: Run) -> None:
    """A queue that nobody declared makes the command fail and is named."""
    path = f"queues/{TOPOLOGY.vhost}/stray"
    cluster.manage("PUT", path, {"durable": True})
    try:
        code, [difference] = doorbell("topology", "verify")
    finally:
        cluster.manage("DELETE", path)
    assert code == 1
    assert (difference["kind"], difference["name"]) == ("extra", "stray")


def test_a_wrong_password_is_refused_in_a_sentence(
    cluster: PrivateRabbitMQ, doorbell: Run, tmp_path: Path
) -> None:
    """Who may not look hears so."""
    (tmp_path / "password").write_text("wrong")
    code, complaint = doorbell("topology", "verify", "--password-file", tmp_path / "password")
    assert code == 1
    assert "operator may not read" in complaint


def test_the_doctor_misses_the_workers(cluster: PrivateRabbitMQ, doorbell: Run) -> None:
    """With everything declared and nobody consuming, the workers are what is wrong."""
    code, findings = doorbell("doctor")
    wrong = {each["what"]: each for each in findings if each["verdict"] == "wrong"}
    assert code == 1
    assert set(wrong) == {"workers"}
    assert all(queue in wrong["workers"]["detail"] for queue in TOPOLOGY.queues)


def test_the_doctor_tells_of_a_drain(
    cluster: PrivateRabbitMQ, database_url: str, doorbell: Run
) -> None:
    """Who drained what, and the command that ends it."""
    with psycopg.connect(database_url) as connection:
        drain(connection, Scope("notifications", "host1", 2), "ada@desk")

    findings = doorbell("doctor")[1]
    [found] = [each for each in findings if each["what"] == "drains"]
    assert found["verdict"] == "wrong"
    assert "notifications 2 on host1 was drained by ada@desk" in found["detail"]
    assert found["mend"].endswith("doorbell pool resume notifications --host host1 --process 2")


def verdicts(doorbell: Run) -> dict[str, tuple[str, str]]:
    """What the doctor says of each thing, and what to do about it."""
    return {it["what"]: (it["verdict"], it["mend"]) for it in doorbell("doctor")[1]}


def test_the_doctor_names_an_alarm_of_the_broker(cluster: PrivateRabbitMQ, doorbell: Run) -> None:
    """With its page; the broker itself answers all the while."""
    assert verdicts(doorbell)["broker's alarms"] == ("ok", "")
    cluster.control("set_disk_free_limit", "5000GB")
    try:
        page = "deploy/runbooks/BrokerAlarm.md"
        wait_until(lambda: verdicts(doorbell)["broker's alarms"] == ("wrong", page), 30)
        assert verdicts(doorbell)["broker"][0] == "ok"
    finally:
        cluster.control("set_disk_free_limit", "50MB")
    wait_until(lambda: verdicts(doorbell)["broker's alarms"][0] == "ok", 30)


@pytest.mark.usefixtures("cluster")
def test_the_doctor_names_commits_that_wait_for_nobody(database_url: str, doorbell: Run) -> None:
    """With their page; the database itself answers all the while."""
    assert verdicts(doorbell)["commits"] == ("ok", "")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            page = "deploy/runbooks/StandbyMissing.md"
            wait_until(lambda: verdicts(doorbell)["commits"] == ("wrong", page), 30)
            assert verdicts(doorbell)["database"][0] == "ok"
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
