"""A login that meets every failure leaves nothing personal in logs, messages, events or the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.webhook import signature
from services.handlers.records import Delivery
from tests.integration.security.watched import (
    PERSONAL,
    SECRET,
    Watched,
    live_through_failures,
    watched_cluster,
)
from tests.support.fleet import wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="module")
def watched(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    directory = tmp_path_factory.mktemp("watched")
    with postgres.database() as url, watched_cluster(node, url, directory) as running:
        live_through_failures(running)
        yield running


def _leaks(texts: list[str]) -> list[str]:
    return [text for text in texts if any(value.lower() in text.lower() for value in PERSONAL)]


def test_the_failures_happened(watched: Watched) -> None:
    """Otherwise the rest proves nothing: each of them was met, and noticed."""
    rows = watched.cluster.rows("SELECT task, state, result, traceback FROM step")
    text = repr(rows)
    assert "the mail server refuses the recipient: 550" in text
    assert "the webhook answered 400" in text
    assert "the outlier API answered 422" in text
    assert "violates check constraint" in text
    assert "unexpected error" in watched.cluster.fleet.log("gateway")
    assert "violates check constraint" in watched.cluster.fleet.log("gateway")
    assert "violates check constraint" in watched.cluster.fleet.log("db_writes")
    assert any(b"zebra" in call.body for call in watched.outlier_api.received)
    assert any(b"203.0.113.77" in call.body for call in watched.webhook.received)


def test_no_process_logs_anything_personal(watched: Watched) -> None:
    """Neither address, IP, user agent, cookie nor any key is in a log of gateway or pools."""
    lines = [
        f"{name}: {line}"
        for name, log in watched.cluster.fleet.logs().items()
        for line in log.splitlines()
    ]
    assert len(lines) > 5
    assert _leaks(lines) == []


def test_no_message_carries_anything_personal(watched: Watched) -> None:
    """Bodies, headers and properties of all messages and dead letters are ids and facts."""
    messages = watched.messages()
    assert len(messages) > 15
    assert any("db_writes.dead" in message for message in messages)
    assert _leaks(messages) == []


def test_the_ledger_s_steps_quote_nothing_personal(watched: Watched) -> None:
    """Results, tracebacks, kept messages, joins and notices' errors are free of it."""
    assert _leaks(watched.kept()) == []


def test_flower_hears_nothing_personal(watched: Watched) -> None:
    """Arguments, results, errors and tracebacks in Celery's events are free of it."""
    kinds = {"task-received", "task-succeeded", "task-failed", "task-retried"}
    wait_until(lambda: kinds <= {event["type"] for event in watched.events}, 20)
    # Each pool sends its events when it comes to it: the one that quotes a row may be the last.
    wait_until(lambda: any("violates check" in str(e.get("exception")) for e in watched.events), 20)
    assert _leaks([repr(event) for event in watched.events]) == []


def test_workers_tell_a_monitor_no_secret(watched: Watched) -> None:
    """`inspect conf` shows settings, and neither passwords nor keys."""
    settings = watched.settings_seen_from_afar()
    assert "task_acks_late" in settings
    assert "password-of-" not in settings
    assert _leaks([settings]) == []


def test_an_answer_quotes_no_row(watched: Watched) -> None:
    """A fault of ours tells the caller nothing of the database's error, and no answer a key."""
    (fault,) = [answer for answer in watched.answers if answer.startswith("500")]
    assert "constraint" not in fault
    assert _leaks([fault]) == []
    assert not any("key-0001" in answer for answer in watched.answers)


def test_a_call_that_is_made_again_keeps_its_id(watched: Watched) -> None:
    """The receiver knows the second attempt by its id; each is signed with a time of its own."""
    first, second = watched.webhook.received[:2]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    for call in (first, second):
        delivery = Delivery(call.headers["webhook-id"], "", SECRET, call.body)
        signed = signature(delivery, call.headers["webhook-timestamp"])
        assert call.headers["webhook-signature"] == signed
