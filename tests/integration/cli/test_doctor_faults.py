"""The doctor names what answers, and yet takes nothing: a broker with an alarm, a database without its standby."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli.conftest import Run, write_endpoints
from tests.support.broker import fill
from tests.support.fleet import wait_until
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="module")
def node() -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ() as running:
        fill(running)
        yield running


@pytest.fixture
def known(
    node: PrivateRabbitMQ, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the doctor finds, as of a local cluster."""
    write_endpoints(node, database_url, tmp_path, monkeypatch)


def verdicts(doorbell: Run) -> dict[str, tuple[str, str]]:
    return {it["what"]: (it["verdict"], it["mend"]) for it in doorbell("doctor")[1]}


@pytest.mark.usefixtures("known")
def test_an_alarm_of_the_broker_is_named(node: PrivateRabbitMQ, doorbell: Run) -> None:
    """With its page; the broker itself answers all the while."""
    assert verdicts(doorbell)["broker's alarms"] == ("ok", "")
    node.control("set_disk_free_limit", "5000GB")
    try:
        page = "deploy/runbooks/BrokerAlarm.md"
        wait_until(lambda: verdicts(doorbell)["broker's alarms"] == ("wrong", page), 30)
        assert verdicts(doorbell)["broker"][0] == "ok"
    finally:
        node.control("set_disk_free_limit", "50MB")
    wait_until(lambda: verdicts(doorbell)["broker's alarms"][0] == "ok", 30)


@pytest.mark.usefixtures("known")
def test_commits_that_wait_for_nobody_are_named(database_url: str, doorbell: Run) -> None:
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
