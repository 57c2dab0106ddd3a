"""A broker whose dead-lettering has stopped: the doctor says so, and the runbook's way sets it going again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amqp import AMQPError

from tests.integration.cli.conftest import Run, write_endpoints
from tests.support.broker import TOPOLOGY, connect, fill
from tests.support.fleet import wait_until
from tests.support.rabbitmq import PrivateRabbitMQ

QUEUE = "device_checks"


@pytest.fixture
def node() -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ() as running:
        fill(running)
        if running.version >= (4,):
            pytest.skip("RabbitMQ 4 does not read what clients write into x-death")
        yield running


@pytest.fixture
def known(
    node: PrivateRabbitMQ, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the doctor finds of the node, as of a local cluster."""
    write_endpoints(node, database_url, tmp_path, monkeypatch)


def send(node: PrivateRabbitMQ, queue: str, headers: dict[str, Any]) -> None:
    """As a pool's own user may."""
    with connect(node, QUEUE) as connection:
        channel: Any = connection.default_channel
        message = channel.prepare_message(b"x", headers=headers, properties={"delivery_mode": 2})
        channel.basic_publish(message, "doorbell", queue)


def reject(node: PrivateRabbitMQ, queue: str) -> None:
    """Reject the next message of a queue as a worker would that knows nothing of x-death."""
    with connect(node, queue) as connection:
        channel: Any = connection.default_channel
        message = wait_until(lambda: channel.basic_get(queue))
        channel.basic_reject(message.delivery_tag, requeue=False)


def moves(node: PrivateRabbitMQ, queue: str, seconds: float) -> bool:
    """Whether a rejected message of a queue reaches its dead-letter queue."""

    def letters() -> int:
        return node.peek(f"{queue}.dead", TOPOLOGY.vhost)[0]

    before = letters()
    send(node, queue, {})
    reject(node, queue)
    try:
        wait_until(lambda: letters() > before, seconds)
    except AssertionError:
        return False
    return True


def takes(node: PrivateRabbitMQ) -> bool:
    """Whether it takes a message; just after its start it may end the connection instead."""
    try:
        send(node, "db_writes", {})
    except AMQPError:
        return False
    return True


def stuck(node: PrivateRabbitMQ) -> set[str]:
    """The queues that have something to be moved, as far as the management interface knows."""
    queues = node.manage("GET", f"queues/{TOPOLOGY.vhost}")
    return {queue["name"] for queue in queues if queue.get("messages_dlx")}


def verdict(doorbell: Run) -> tuple[str, str]:
    _, findings = doorbell("doctor")
    [found] = [each for each in findings if each["what"] == "dead letters"]
    return found["verdict"], found["detail"]


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("known")
def test_one_message_stops_it_and_the_runbook_mends_it(
    node: PrivateRabbitMQ, doorbell: Run
) -> None:
    """The message is what a worker of ours would have taken the header from."""
    assert moves(node, "notifications", 10)
    assert verdict(doorbell) == ("ok", "the broker moves them")

    send(node, QUEUE, {"x-death": [5]})
    reject(node, QUEUE)
    wait_until(lambda: not moves(node, "notifications", 1))
    wait_until(lambda: {QUEUE, "notifications"} <= stuck(node))
    found, told = verdict(doorbell)
    assert found == "wrong"
    assert QUEUE in told
    assert "notifications" in told

    node.control("delete_queue", "-p", TOPOLOGY.vhost, QUEUE)
    node.restart()
    fill(node)
    wait_until(lambda: takes(node), 30, "the node takes messages again")
    assert moves(node, QUEUE, 20)
    assert moves(node, "notifications", 20)
    assert verdict(doorbell) == ("ok", "the broker moves them")
