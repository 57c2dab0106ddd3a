"""The relay publishes what was committed and never confirmed, and nothing that others see to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.celery_app import DoorbellApp
from services.domain.errors import Unavailable
from services.ledger import relay, store
from services.ledger.message import Message
from services.ledger.relay import relay_once
from tests.integration.ledger.conftest import VHOST, Database
from tests.integration.ledger.steps import message
from tests.support.rabbitmq import PrivateRabbitMQ


def left_behind(database: Database, messages: Sequence[Message], seconds: float = 10) -> None:
    """Messages of a publisher that died so long ago."""
    with database.connect() as connection:
        store.make_ready(connection, [(m, None, None) for m in messages])
        connection.execute(
            "UPDATE step SET ready_at = now() - make_interval(secs => %s) WHERE id = ANY(%s)",
            [seconds, [m.step_id for m in messages]],
        )
        connection.commit()


def unpublished(database: Database) -> set[str]:
    return {row[0] for row in database.rows("SELECT id FROM step WHERE published_at IS NULL")}


def test_what_is_old_enough_is_published_once(
    database: Database, app: DoorbellApp, node: PrivateRabbitMQ, queue: str
) -> None:
    """A young message is still its publisher's; an old one goes out, and only once."""
    old, young = message(), message()
    left_behind(database, [old])
    left_behind(database, [young], seconds=0)

    assert relay_once(app.ledger) == 1
    assert unpublished(database) == {young.step_id}
    assert relay_once(app.ledger) == 0
    assert node.peek(queue, VHOST)[0] == 1


def test_a_retry_is_relayed_too(database: Database, app: DoorbellApp, queue: str) -> None:
    """A retry whose publish was lost is a message like any other."""
    retry = message(retries=3)
    left_behind(database, [retry])

    assert relay_once(app.ledger) == 1
    assert unpublished(database) == set()


def test_more_than_one_list(
    database: Database, app: DoorbellApp, node: PrivateRabbitMQ, queue: str
) -> None:
    """One run publishes everything that waits."""
    left_behind(database, [message() for _ in range(1100)])

    assert relay_once(app.ledger) == 1100
    assert node.peek(queue, VHOST)[0] == 1100


def test_rows_that_another_relay_holds_are_skipped(
    database: Database, app: DoorbellApp, queue: str
) -> None:
    """SKIP LOCKED: the second relay neither waits nor publishes the first one's rows."""
    held, free = message(), message()
    left_behind(database, [held], seconds=20)
    left_behind(database, [free])
    with database.connect() as first:
        assert store.take_unpublished(first, 2, 1) == [held]
        assert relay_once(app.ledger) == 1
        assert unpublished(database) == {held.step_id}


def test_two_relays_at_once_publish_each_message_once(
    database: Database, app: DoorbellApp, node: PrivateRabbitMQ, queue: str
) -> None:
    """Two threads released together share the work."""
    left_behind(database, [message() for _ in range(1500)])
    barrier = threading.Barrier(2)

    def run() -> int:
        barrier.wait(30)
        try:
            return relay_once(app.ledger)
        finally:
            app.ledger.publisher().close()

    with ThreadPoolExecutor(2) as threads:
        found = [thread.result() for thread in [threads.submit(run), threads.submit(run)]]
    assert sum(found) == 1500
    assert unpublished(database) == set()
    assert node.peek(queue, VHOST)[0] == 1500


def test_a_broker_that_is_away_marks_nothing(database: Database, offline: DoorbellApp) -> None:
    """`Unavailable`, and everything waits for the next run."""
    waiting = [message(), message()]
    left_behind(database, waiting)

    with pytest.raises(Unavailable):
        relay_once(offline.ledger)
    assert unpublished(database) == {m.step_id for m in waiting}


def test_a_queue_that_refuses_holds_up_no_other(
    database: Database, app: DoorbellApp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older messages than one list holds, all refused: those behind them go out all the same."""
    monkeypatch.setattr(relay, "_BATCH", 10)
    refused = [message(queue="no_such_queue") for _ in range(25)]
    taken = [message() for _ in range(15)]
    left_behind(database, refused, seconds=60)
    left_behind(database, taken)

    assert relay_once(app.ledger) == 15
    assert unpublished(database) == {m.step_id for m in refused}


def test_a_message_that_the_broker_forbids_holds_up_no_other(
    database: Database, app: DoorbellApp, queue: str
) -> None:
    """One wrong exchange in a programmer's code does not stop every queue's relay."""
    bad, good = message(exchange="no_such_exchange", queue="elsewhere"), message()
    left_behind(database, [bad], seconds=60)
    left_behind(database, [good])

    assert relay_once(app.ledger) == 1
    assert unpublished(database) == {bad.step_id}


def test_what_is_published_after_a_commit_is_left_to_the_relay_while_the_broker_is_away(
    database: Database, make: Callable[[str], DoorbellApp], offline: DoorbellApp
) -> None:
    """`Ledger.publish` outside a step raises nothing and marks nothing."""
    waiting = message()
    left_behind(database, [waiting])

    offline.ledger.publish([waiting])
    assert unpublished(database) == {waiting.step_id}


def test_what_is_published_after_a_commit_is_marked(
    database: Database, app: DoorbellApp, queue: str
) -> None:
    """Then the relay has nothing to do."""
    sent = message()
    left_behind(database, [sent])

    app.ledger.publish([sent])
    assert unpublished(database) == set()
    assert relay_once(app.ledger) == 0


def test_a_relay_does_not_go_on_for_ever(
    database: Database, app: DoorbellApp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beat starts another; one that stayed would fill the pool in which the reconciler runs too."""
    monkeypatch.setattr(relay, "_BATCH", 2)
    left_behind(database, [message() for _ in range(5)])

    assert relay_once(app.ledger, longest_seconds=0.0) == 2
    assert relay_once(app.ledger) == 3
