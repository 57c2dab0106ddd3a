"""Every user of the broker against every queue and exchange, in every way that AMQP knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pytest
import requests
from amqp.exceptions import AccessRefused
from kombu import Connection
from kombu.transport.native_delayed_delivery import calculate_routing_key

from routing.topology import dead_queue_name
from routing.verify import differences
from tests.support.broker import PASSWORDS, TOPOLOGY, USERS, administrator, connect
from tests.support.rabbitmq import PrivateRabbitMQ

WORK = tuple(str(queue) for queue in TOPOLOGY.queues)
DEAD = tuple(dead_queue_name(queue) for queue in WORK)
CLEARS = TOPOLOGY.queues[TOPOLOGY.route("maintenance.clear_letters").queue].pool
"""Which pool takes an erased user's messages out of the dead-letter queues."""
LEVELS = tuple(TOPOLOGY.delays.level_name(level) for level in range(TOPOLOGY.delays.levels))
QUEUES = (*WORK, *DEAD, *LEVELS)
OWN_EXCHANGES = (TOPOLOGY.work_exchange, TOPOLOGY.dead_exchange, TOPOLOGY.delays.exit, *LEVELS)
BUILT_IN = (
    "amq.direct",
    "amq.fanout",
    "amq.headers",
    "amq.match",
    "amq.topic",
    "amq.rabbitmq.trace",
)
EXCHANGES = (*OWN_EXCHANGES, *BUILT_IN)
OBSERVERS = ("flower", "operator")

Act = Callable[[Any], object]


def _allowed(connection: Connection, acts: Mapping[str, Act]) -> set[str]:
    """The names of the acts that the broker lets be done, each on a channel of its own."""
    allowed = set()
    for name, act in acts.items():
        channel: Any = connection.channel()
        try:
            act(channel)
        except AccessRefused:
            continue
        channel.close()
        allowed.add(name)
    return allowed


def _per_name(names: Iterable[str], act: Callable[[Any, str], object]) -> Mapping[str, Act]:
    return {name: partial(_call, act, name) for name in names}


def _call(act: Callable[[Any, str], object], name: str, channel: Any) -> None:
    act(channel, name)


def _consume(channel: Any, queue: str) -> None:
    channel.basic_cancel(channel.basic_consume(queue, callback=lambda _: None))


def _readable(user: str) -> set[str]:
    work = set(TOPOLOGY.queues_of(user)) if user in TOPOLOGY.pools else set()
    return work | (set(DEAD) if user in ("operator", CLEARS) else set())


def _sends(user: str) -> set[str]:
    return set(TOPOLOGY.users[user].sends if user in TOPOLOGY.users else TOPOLOGY.sends_of(user))


@pytest.fixture(autouse=True)
def _unharmed(node: PrivateRabbitMQ) -> Any:
    """Whatever was tried, the broker is as the topology says."""
    yield
    assert differences(TOPOLOGY, administrator(node)) == []


@pytest.mark.parametrize("user", USERS)
def test_who_may_read_which_queue(node: PrivateRabbitMQ, user: str) -> None:
    """Getting, consuming and purging: a pool its own queue, operator and erasures dead letters, no one another."""
    ways: dict[str, Callable[[Any, str], object]] = {
        "get": lambda channel, queue: channel.basic_get(queue),
        "consume": _consume,
        "purge": lambda channel, queue: channel.queue_purge(queue),
    }
    with connect(node, user) as connection:
        found = {way: _allowed(connection, _per_name(QUEUES, act)) for way, act in ways.items()}
    assert found == dict.fromkeys(ways, _readable(user))


@pytest.mark.parametrize("user", USERS)
def test_nobody_changes_a_queue(node: PrivateRabbitMQ, user: str) -> None:
    """No queue of the topology can be declared, deleted, bound or unbound, nor a new one made."""
    ways: dict[str, Callable[[Any, str], object]] = {
        "declare": lambda channel, queue: channel.queue_declare(queue, durable=True),
        "delete": lambda channel, queue: channel.queue_delete(queue),
        "bind": lambda channel, queue: channel.queue_bind(queue, TOPOLOGY.work_exchange, "#"),
        "unbind": lambda channel, queue: channel.queue_unbind(queue, TOPOLOGY.work_exchange, queue),
    }
    names = (*QUEUES, "stray", "db_writes.copy", "amq.gen-x")
    with connect(node, user) as connection:
        found = {way: _allowed(connection, _per_name(names, act)) for way, act in ways.items()}
    assert found == {way: set() for way in ways}


@pytest.mark.parametrize("user", USERS)
def test_nobody_changes_or_hears_an_exchange(node: PrivateRabbitMQ, user: str) -> None:
    """No exchange can be declared, deleted, or bound to another one or to a queue of one's own."""
    heard = f"celeryev.{'0' * 36}" if user in OBSERVERS else f"{user}@x.celery.pidbox"

    def hear(channel: Any, exchange: str) -> None:
        channel.queue_declare(heard, exclusive=True)
        channel.queue_bind(heard, exchange, "#")

    ways: dict[str, Callable[[Any, str], object]] = {
        "declare": lambda channel, name: channel.exchange_declare(name, "topic", durable=True),
        "delete": lambda channel, name: channel.exchange_delete(name),
        "feed": lambda channel, name: channel.exchange_bind(name, TOPOLOGY.work_exchange, "#"),
        "drain": lambda channel, name: channel.exchange_bind("celeryev", name, "#"),
        "hear": hear,
    }
    with connect(node, "flower") as first:
        observer: Any = first.default_channel
        observer.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)
    with connect(node, user) as connection:
        found = {way: _allowed(connection, _per_name(EXCHANGES, act)) for way, act in ways.items()}
    assert found == {way: set() for way in ways}


@pytest.mark.parametrize("user", USERS)
def test_who_may_publish_where(node: PrivateRabbitMQ, user: str) -> None:
    """Each exchange with each key: work and delays by the `sends`, dead letters by the operator alone."""
    delayed = {queue: calculate_routing_key(1, queue) for queue in (*WORK, *DEAD)}
    keys = (*WORK, *DEAD, *delayed.values(), "", "#", "stray")
    exchanges = ("", *OWN_EXCHANGES, *BUILT_IN)

    def publish(exchange: str, key: str, channel: Any) -> None:
        channel.basic_publish(channel.prepare_message(b"x"), exchange, key)

    acts = {
        f"{exchange} <- {key}": partial(publish, exchange, key)
        for exchange in exchanges
        # Beyond the topic exchanges the key decides nothing: three of them are enough.
        for key in (keys if exchange in (TOPOLOGY.work_exchange, *LEVELS[-1:]) else keys[:3])
    }
    expected = {f"{TOPOLOGY.work_exchange} <- {queue}" for queue in _sends(user)}
    if user in (*TOPOLOGY.pools, "operator"):
        entrance = TOPOLOGY.delays.entrance
        expected |= {f"{entrance} <- {delayed[queue]}" for queue in _sends(user)}
    if user == "operator":
        expected |= {f"{TOPOLOGY.dead_exchange} <- {queue}" for queue in WORK[:3]}
    with connect(node, user) as connection:
        assert _allowed(connection, acts) == expected


@pytest.mark.parametrize("user", USERS)
def test_control_queues_are_one_s_own(node: PrivateRabbitMQ, user: str) -> None:
    """A pool declares and reads its own control queue; no one another's, nor one that looks like it."""
    names = [f"{pool}@x.celery.pidbox" for pool in TOPOLOGY.pools]
    odd = [f"x{user}@x.celery.pidbox", f"{user}@x.celery.pidboxes", f"{user}@x"]

    def take(channel: Any, queue: str) -> None:
        channel.queue_declare(queue, exclusive=True)
        channel.basic_get(queue)
        channel.queue_delete(queue)

    with connect(node, user) as connection:
        found = _allowed(connection, _per_name([*names, *odd], take))
    assert found == ({f"{user}@x.celery.pidbox"} if user in TOPOLOGY.pools else set())


@pytest.mark.parametrize("user", USERS)
def test_the_management_interface_gives_no_more(node: PrivateRabbitMQ, user: str) -> None:
    """The operator may look; nobody can change, delete, publish or read users there."""
    vhost = TOPOLOGY.vhost
    asked: list[tuple[str, str, object]] = [
        ("GET", "overview", None),
        ("GET", "users", None),
        ("GET", f"users/{user}", None),
        ("PUT", f"users/{user}", {"password": "x", "tags": "administrator"}),
        ("DELETE", f"queues/{vhost}/db_writes", None),
        ("DELETE", f"queues/{vhost}/db_writes/contents", None),
        ("PUT", f"queues/{vhost}/stray", {}),
        ("PUT", f"permissions/{vhost}/{user}", {"configure": ".*", "write": ".*", "read": ".*"}),
        ("POST", "definitions", {"queues": []}),
    ]
    answered = {
        f"{method} {path}"
        for method, path, body in asked
        if requests.request(
            method,
            f"{node.management_url}/api/{path}",
            auth=(user, PASSWORDS[user]),
            json=body,
            timeout=30,
        ).ok
    }
    assert answered == ({"GET overview"} if user == "operator" else set())
