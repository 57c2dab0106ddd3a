"""The floor's connection to its own vhost: publishing with pipelined confirms, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from amqp.basic_message import Message as Frame
from amqp.spec import Basic

from routing.arguments import work_queue_arguments
from routing.load import load
from services.ledger.amqp_frames import Connection
from services.ledger.message import Message

_CONFIRM_SECONDS = 10.0


def connected() -> Connection:
    """A connection of this process."""
    url = urlsplit(os.environ["RIVAL_BROKER"])
    connection = Connection(
        f"{url.hostname}:{url.port}",
        url.username or "",
        url.password or "",
        virtual_host=url.path[1:],
    )
    connection.connect()
    return connection


def declare(pools: Sequence[str]) -> None:
    """The product's exchange and queues."""
    topology = load()
    connection = connected()
    channel = connection.channel()
    channel.exchange_declare(topology.work_exchange, "topic", durable=True, auto_delete=False)
    for name in pools:
        arguments = work_queue_arguments(topology, topology.queues[name])
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_bind(name, topology.work_exchange, name)
    connection.close()


class Sender:
    """Publishes lists. connection: which other channels may share."""

    def __init__(self, connection: Connection | None = None) -> None:
        opened: Any = connection or connected()
        self._connection, self._channel = opened, opened.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_confirm)
        self._waiting: set[int] = set()
        self._sent = 0

    def publish(self, messages: Sequence[Message]) -> None:
        """Send all, and wait for all confirms. Raises TimeoutError."""
        with self._connection.transport.gathering():
            for message in messages:
                arguments = (0, message.exchange, message.routing_key, True, False)
                self._channel.send_method(Basic.Publish, "Bssbb", arguments, _frame(message))
                self._sent += 1
                self._waiting.add(self._sent)
        while self._waiting:
            self._connection.drain_events(timeout=_CONFIRM_SECONDS)

    def _on_confirm(self, delivery_tag: int, multiple: bool) -> None:
        done = {tag for tag in self._waiting if tag <= delivery_tag} if multiple else {delivery_tag}
        self._waiting -= done


def _frame(message: Message) -> Frame:
    return Frame(
        message.body,
        content_type="application/json",
        content_encoding="utf-8",
        application_headers=dict(message.headers),
        delivery_mode=2,
        message_id=message.step_id,
        **message.properties,
    )
