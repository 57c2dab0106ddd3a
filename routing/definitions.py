"""The broker's definitions: every exchange, queue and binding, and with secrets the users too."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from routing.arguments import (
    Arguments,
    dead_queue_arguments,
    delay_queue_arguments,
    work_queue_arguments,
)
from routing.permissions import permissions
from routing.topology import Topology, dead_queue_name

Definition = dict[str, Any]
Definitions = dict[str, list[Definition]]


def definitions(topology: Topology) -> Definitions:
    """Return what the broker must have, without users: nothing in it is secret."""
    return {
        "vhosts": [{"name": topology.vhost}],
        "exchanges": [_exchange(topology, name) for name in _exchange_names(topology)],
        "queues": list(_queues(topology)),
        "bindings": list(_bindings(topology)),
    }


def complete_definitions(topology: Topology, passwords: Mapping[str, str]) -> Definitions:
    """Return the definitions with users; `passwords` has one for each user of `permissions`."""
    rights = permissions(topology)
    users = [
        {
            **user,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "password_hash": password_hash(passwords[user["name"]]),
        }
        for user in rights["users"]
    ]
    return {**definitions(topology), **rights, "users": users}


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's salted SHA-256 of a password; the salt is four random bytes."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _exchange_names(topology: Topology) -> Iterator[str]:
    yield topology.work_exchange
    yield topology.dead_exchange
    yield topology.delays.exit
    for level in range(topology.delays.levels):
        yield topology.delays.level_name(level)


def _exchange(topology: Topology, name: str) -> Definition:
    return {
        "name": name,
        "vhost": topology.vhost,
        "type": "topic",
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queues(topology: Topology) -> Iterator[Definition]:
    for queue in topology.queues.values():
        yield _queue(topology, queue.name, work_queue_arguments(topology, queue))
    for name in topology.queues:
        yield _queue(topology, dead_queue_name(name), dead_queue_arguments())
    for level in range(topology.delays.levels):
        name = topology.delays.level_name(level)
        yield _queue(topology, name, delay_queue_arguments(topology, level))


def _queue(topology: Topology, name: str, arguments: Arguments) -> Definition:
    return {
        "name": name,
        "vhost": topology.vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": arguments,
    }


def _bindings(topology: Topology) -> Iterator[Definition]:
    for name in topology.queues:
        yield _binding(topology, topology.work_exchange, "queue", name, name)
        yield _binding(topology, topology.dead_exchange, "queue", dead_queue_name(name), name)
    yield from _delay_bindings(topology)
    for name in topology.queues:
        # A message that was delayed keeps the bits of its delay before its routing key.
        key = f"#.{name}"
        yield _binding(topology, topology.work_exchange, "queue", name, key)
        yield _binding(topology, topology.delays.exit, "exchange", topology.work_exchange, key)


def _delay_bindings(topology: Topology) -> Iterator[Definition]:
    """A set bit of the delay leads through that level's queue, a clear one past it to the next."""
    delays = topology.delays
    for level in reversed(range(delays.levels)):
        name = delays.level_name(level)
        passed = "*." * (delays.levels - 1 - level)
        following = delays.level_name(level - 1) if level else delays.exit
        yield _binding(topology, name, "queue", name, f"{passed}1.#")
        yield _binding(topology, name, "exchange", following, f"{passed}0.#")


def _binding(topology: Topology, source: str, kind: str, destination: str, key: str) -> Definition:
    return {
        "source": source,
        "vhost": topology.vhost,
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "arguments": {},
    }
