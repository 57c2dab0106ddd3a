"""Tries, on a host, everything that AMQP and the management interface let one ask, as each user in turn.

A program of its own that needs only what a release has installed; it reads JSON from its input and prints
what was allowed, by user and way. `tests.hosts.test_rights` knows what should have been.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import amqp
from amqp.exceptions import AccessRefused

_TLS = "/etc/doorbell/tls"


def main() -> None:
    """Print `{user: {way: [name, ...]}}` of what was allowed."""
    asked = json.load(sys.stdin)
    json.dump(
        {user: _allowed(user, word, asked) for user, word in asked["users"].items()}, sys.stdout
    )


def _allowed(user: str, password: str, asked: dict[str, Any]) -> dict[str, list[str]]:
    connection = _connect(user, password, asked["vhost"])
    queues, exchanges = asked["queues"], asked["exchanges"]
    ways = [tuple(way) for way in asked["ways"]]
    try:
        found = {
            "read": _try(connection, queues, lambda channel, queue: channel.basic_get(queue)),
            "consume": _try(connection, queues, _consume),
            "purge": _try(connection, queues, lambda channel, queue: channel.queue_purge(queue)),
            "delete": _try(connection, queues, lambda channel, queue: channel.queue_delete(queue)),
            "declare": _try(
                connection,
                ["stray", *queues],
                lambda channel, queue: channel.queue_declare(queue, durable=True),
            ),
            "bind": _try(
                connection,
                queues,
                lambda channel, queue: channel.queue_bind(queue, exchanges[0], "#"),
            ),
            "feed": _try(
                connection,
                exchanges,
                lambda channel, name: channel.exchange_bind(name, exchanges[0], "#"),
            ),
            "publish": _try(connection, [f"{exchange} {key}" for exchange, key in ways], _publish),
        }
    finally:
        connection.close()
    return found | {"manage": _managed(user, password, asked)}


def _connect(user: str, password: str, vhost: str) -> Any:
    connection = amqp.Connection(
        "127.0.0.1:5671",
        userid=user,
        password=password,
        virtual_host=vhost,
        confirm_publish=True,
        ssl={
            "ca_certs": f"{_TLS}/ca.crt",
            "certfile": f"{_TLS}/host.crt",
            "keyfile": f"{_TLS}/host.key",
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": "broker",
        },
    )
    connection.connect()
    return connection


def _try(connection: Any, names: list[str], act: Callable[[Any, str], object]) -> list[str]:
    allowed = []
    for name in names:
        channel = connection.channel()
        try:
            act(channel, name)
        except AccessRefused:
            continue
        channel.close()
        allowed.append(name)
    return allowed


def _consume(channel: Any, queue: str) -> None:
    channel.basic_cancel(channel.basic_consume(queue, callback=lambda _: None))


def _publish(channel: Any, way: str) -> None:
    exchange, _, key = way.partition(" ")
    # Nobody's message: a queue that is reached puts it with its dead letters at most.
    channel.basic_publish(amqp.Message(b"x", content_type="text/plain"), exchange, key)


def _managed(user: str, password: str, asked: dict[str, Any]) -> list[str]:
    answered = []
    for broker in asked["brokers"]:
        try:
            status = _ask(broker, user, password)
        except OSError:
            continue
        answered.append(f"{broker} {status}")
    return answered


def _ask(broker: str, user: str, password: str) -> int:
    tls = ssl.create_default_context(cafile=f"{_TLS}/ca.crt")
    login = b64encode(f"{user}:{password}".encode()).decode()
    there = http.client.HTTPSConnection(broker, 15671, timeout=3, context=tls)
    try:
        there.request("GET", "/api/overview", headers={"Authorization": f"Basic {login}"})
        return there.getresponse().status
    finally:
        there.close()


if __name__ == "__main__":
    main()
