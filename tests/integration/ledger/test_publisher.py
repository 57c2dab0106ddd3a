"""What the publisher says is confirmed has reached its queue; what has not is missing or raised."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection

from services.celery_app import DoorbellApp
from services.domain.errors import Unavailable
from services.ledger.publisher import Publisher
from tests.integration.ledger.conftest import VHOST
from tests.integration.ledger.steps import message
from tests.support.fleet import wait_until
from tests.support.ports import free_port
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ


@pytest.fixture
def publisher(app: DoorbellApp) -> Iterator[Publisher]:
    made = Publisher(app, timeout_seconds=10)
    yield made
    made.close()


@pytest.fixture
def full_queue(node: PrivateRabbitMQ) -> Iterator[str]:
    """A queue on the work exchange that takes two messages and rejects more."""
    name = f"full_{uuid4().hex[:8]}"
    node.manage(
        "PUT",
        f"queues/{VHOST}/{name}",
        {
            "durable": True,
            "arguments": {
                "x-queue-type": "quorum",
                "x-max-length": 1,
                "x-overflow": "reject-publish",
            },
        },
    )
    node.manage("POST", f"bindings/{VHOST}/e/doorbell/q/{name}", {"routing_key": name})
    yield name
    node.manage("DELETE", f"queues/{VHOST}/{name}")


def test_a_thousand_messages_are_confirmed_on_one_channel(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str
) -> None:
    """More than fit into the window of unconfirmed ones; each is reported once, written in order."""
    messages = [message() for _ in range(1000)]
    written: list[int] = []

    confirmed = publisher.publish(messages, written.append)

    assert sorted(confirmed) == sorted(m.step_id for m in messages)
    assert written == list(range(1000))
    assert node.peek(queue, VHOST)[0] == 1000


def test_nothing_to_publish_opens_nothing(offline: DoorbellApp) -> None:
    """An empty list is no reason to talk to a broker."""
    assert Publisher(offline).publish([]) == []


def test_a_message_arrives_as_celery_reads_it(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str
) -> None:
    """Persistent JSON with its headers and properties, recognisable by its id."""
    sent = message()
    publisher.publish([sent])

    address = node.broker_url(ADMINISTRATOR, node.password, VHOST)
    with Connection(address) as connection:
        channel: Any = connection.default_channel
        got = channel.basic_get(queue, no_ack=True)
    assert got.body == sent.body
    assert sent.headers.items() <= got.headers.items()
    assert got.properties["delivery_mode"] == 2
    assert got.properties["content_type"] == "application/json"
    assert got.properties["correlation_id"] == got.properties["message_id"] == sent.step_id


def test_an_unroutable_message_is_not_confirmed_and_others_are(
    publisher: Publisher, queue: str
) -> None:
    """The broker acks what it returns: only the return tells that it went nowhere."""
    before, lost, after = message(), message(queue="no_such_queue"), message()

    assert set(publisher.publish([before, lost, after])) == {before.step_id, after.step_id}
    # What was said of one list says nothing about the next.
    assert publisher.publish([message(lost.step_id)]) == [lost.step_id]


def test_a_full_queue_does_not_confirm(publisher: Publisher, full_queue: str, queue: str) -> None:
    """The broker nacks what the queue rejects; a message of another queue is taken."""
    filling = [message(queue=full_queue) for _ in range(3)]
    wait_until(lambda: len(publisher.publish(filling)) < 3, 20, "the queue never fills")

    refused, taken = message(queue=full_queue), message(queue=queue)
    assert publisher.publish([refused, taken]) == [taken.step_id]


def test_what_is_rejected_is_sent_once_more_on_another_connection(
    app: DoorbellApp, publisher: Publisher, node: PrivateRabbitMQ, full_queue: str, queue: str
) -> None:
    """It is refused for good only when that is rejected too; what was taken is not sent again."""

    class Relieved(Publisher):
        """The queue has room again when the first connection is closed."""

        def close(self) -> None:
            if self._connection is not None:
                node.manage("DELETE", f"queues/{VHOST}/{full_queue}/contents")
            super().close()

    filling = [message(queue=full_queue) for _ in range(3)]
    wait_until(lambda: len(publisher.publish(filling)) < 3, 20, "the queue never fills")

    relieved = Relieved(app)
    rejected, taken = message(queue=full_queue), message(queue=queue)
    assert set(relieved.publish([rejected, taken])) == {rejected.step_id, taken.step_id}
    assert node.peek(full_queue, VHOST)[0] == node.peek(queue, VHOST)[0] == 1
    relieved.close()


def test_a_message_that_the_broker_forbids_stops_no_other(publisher: Publisher, queue: str) -> None:
    """The broker closes the channel at an unknown exchange; the rest of the list still goes out."""
    good = [message() for _ in range(4)]
    bad = message(exchange="no_such_exchange")

    confirmed = publisher.publish([*good[:2], bad, *good[2:]])

    assert sorted(confirmed) == sorted(m.step_id for m in good)
    later = message()
    assert publisher.publish([later]) == [later.step_id]


def test_a_connection_that_the_broker_closed_is_opened_again(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str
) -> None:
    """What is published next is confirmed as if nothing had been."""
    first, second = message(), message()
    assert publisher.publish([first]) == [first.step_id]
    node.control("close_all_connections", "--vhost", VHOST, "closed by a test")

    assert publisher.publish([second]) == [second.step_id]
    assert node.peek(queue, VHOST)[0] == 2


def test_a_connection_closed_in_the_middle_of_a_list(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str
) -> None:
    """The whole list is published again on a new connection: all are confirmed, some came twice."""
    messages = [message() for _ in range(20)]
    closed: list[int] = []

    def close_once(index: int) -> None:
        if index == 10 and not closed:
            closed.append(index)
            node.control("close_all_connections", "--vhost", VHOST, "closed by a test")

    confirmed = publisher.publish(messages, close_once)

    assert closed
    assert set(confirmed) == {m.step_id for m in messages}
    assert node.peek(queue, VHOST)[0] >= 20


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_a_broker_that_is_away_is_reported_in_time(
    make: Callable[[str], DoorbellApp], silent: bool
) -> None:
    """`Unavailable` within twice the time-out, whether nobody listens or nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if silent else free_port()
        app = make(f"pyamqp://a:b@127.0.0.1:{port}/x")
        app.conf.broker_connection_timeout = 1
        publisher = Publisher(app, timeout_seconds=2)
        began = monotonic()
        with pytest.raises(Unavailable, match="the broker does not answer"):
            publisher.publish([message()])

    assert monotonic() - began < 2 * 2 + 2
    publisher.close()


@pytest.mark.parametrize(
    "unfit",
    [
        # AMQP has no numbers of 65 bits, and no ids of more than 255 bytes.
        {"headers": {"large": 2**70}},
        {"step_id": "x" * 300},
        {"step_id": 7},
        {"properties": {"reply_to": 5}},
        {"properties": {"correlation_id": 5}},
        {"routing_key": None},
        # The broker's frames are of 128 KiB, and headers are one.
        {"headers": {"large": "x" * 140_000}},
    ],
    ids=["number", "long id", "id", "reply_to", "correlation_id", "no place", "headers"],
)
def test_a_message_that_cannot_be_written_holds_up_no_other(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str, unfit: dict[str, Any]
) -> None:
    """The others are sent, and what is confirmed later was sent later."""
    publisher.publish([message()])
    bad = message()
    bad = replace(bad, **{"headers": bad.headers | unfit.pop("headers", {}), **unfit})
    good = [message(), message()]

    assert publisher.publish([good[0], bad, good[1]]) == [m.step_id for m in good]
    later = [message() for _ in range(3)]
    assert publisher.publish(later) == [m.step_id for m in later]
    assert node.peek(queue, VHOST)[0] >= 1 + 2 + 3


def test_after_an_error_nothing_unsent_is_taken_for_confirmed(
    publisher: Publisher, node: PrivateRabbitMQ, queue: str
) -> None:
    """A message that was numbered and not written has lost its number with its connection."""
    publisher.publish([message()])
    with pytest.raises(ZeroDivisionError):
        publisher.publish([message(), message()], lambda index: 1 // (1 - index))
    later = [message() for _ in range(2)]
    assert publisher.publish(later) == [m.step_id for m in later]
