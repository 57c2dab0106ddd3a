"""What each user of the broker may do: no more than its work needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from routing.topology import Topology, User, dead_queue_name

Rights = dict[str, list[dict[str, Any]]]

# Celery's own exchanges and queues, which it declares when a process starts (names of Celery 5.7).
CONTROL_EXCHANGE = "celery.pidbox"
REPLY_EXCHANGE = "reply.celery.pidbox"
EVENT_EXCHANGE = "celeryev"
CELERY_EXCHANGES = (CONTROL_EXCHANGE, REPLY_EXCHANGE, EVENT_EXCHANGE)
_UUID = "[0-9a-f-]{36}"
_CLIENT_QUEUES = (rf"{_UUID}\.reply\.celery\.pidbox", rf"celeryev\.{_UUID}")
CELERY_QUEUES = re.compile(rf"[a-z_]+(\.\d+)?@.+\.celery\.pidbox|{'|'.join(_CLIENT_QUEUES)}")

_NOTHING = "^$"
_CLEARING = "maintenance.clear_letters"
"""The task that takes an erased user's messages out of the dead-letter queues."""


def permissions(topology: Topology) -> Rights:
    """Return users (without passwords), permissions and topic permissions as RabbitMQ takes them."""
    rights: Rights = {"users": [], "permissions": [], "topic_permissions": []}
    for pool in topology.pools:
        _add_pool(rights, topology, pool)
    for user in topology.users.values():
        _add_user(rights, topology, user)
    return rights


def _add_pool(rights: Rights, topology: Topology, pool: str) -> None:
    """A worker answers control commands and reports events; it sends no command and hears no event.

    It can neither fill nor bind its control queue, so that it cannot use one that it declares with
    a dead-letter exchange (which knows no topic permissions) to reach a queue that is not its to write.
    """
    node_queue = rf"{re.escape(pool)}(\.\d+)?@.+\.celery\.pidbox"
    publishes = (topology.work_exchange, topology.delays.entrance, REPLY_EXCHANGE, EVENT_EXCHANGE)
    reads = [*topology.queues_of(pool), CONTROL_EXCHANGE]
    clearing = topology.find_route(_CLEARING)
    if clearing and clearing.queue in reads:
        reads += [dead_queue_name(queue) for queue in topology.queues]
    _add(
        rights,
        topology,
        pool,
        [],
        configure=[*_literal(CELERY_EXCHANGES), node_queue],
        write=[*_literal(publishes), node_queue],
        read=[*_literal(reads), node_queue],
    )
    sends = topology.sends_of(pool)
    _add_topic(rights, topology, pool, topology.work_exchange, _keys(sends))
    _add_topic(rights, topology, pool, topology.delays.entrance, _delayed_keys(topology, sends))


def _add_user(rights: Rights, topology: Topology, user: User) -> None:
    configure: list[str] = []
    write: list[str] = []
    read: list[str] = []
    if user.sends:
        write += _literal((topology.work_exchange,))
        _add_topic(rights, topology, user.name, topology.work_exchange, _keys(user.sends))
    if user.replays:
        # What a rebuilt broker has lost goes back for the rest of its delay.
        entrance = topology.delays.entrance
        write += _literal((topology.dead_exchange, entrance))
        _add_topic(rights, topology, user.name, entrance, _delayed_keys(topology, user.sends))
        read += _literal(dead_queue_name(queue) for queue in topology.queues)
        _add_topic(rights, topology, user.name, topology.dead_exchange, _keys(topology.queues))
    if user.observes:
        configure += [*_literal(CELERY_EXCHANGES), *_CLIENT_QUEUES]
        write += [*_literal((CONTROL_EXCHANGE,)), *_CLIENT_QUEUES]
        read += [*_literal((REPLY_EXCHANGE, EVENT_EXCHANGE)), *_CLIENT_QUEUES]
    tags: list[str] = [] if user.tag == "none" else [user.tag]
    _add(rights, topology, user.name, tags, configure=configure, write=write, read=read)


def _add(
    rights: Rights, topology: Topology, user: str, tags: list[str], **patterns: list[str]
) -> None:
    rights["users"].append({"name": user, "tags": tags})
    regexes = {right: _any_of(choices) for right, choices in patterns.items()}
    rights["permissions"].append({"user": user, "vhost": topology.vhost, **regexes})


def _add_topic(rights: Rights, topology: Topology, user: str, exchange: str, write: str) -> None:
    rights["topic_permissions"].append(
        {
            "user": user,
            "vhost": topology.vhost,
            "exchange": exchange,
            "write": write,
            "read": _NOTHING,
        }
    )


def _keys(queues: Iterable[str], before: str = "") -> str:
    return f"^{before}({'|'.join(_literal(queues))})$"


def _delayed_keys(topology: Topology, queues: Iterable[str]) -> str:
    return _keys(queues, rf"([01]\.){{{topology.delays.levels}}}")


def _any_of(patterns: list[str]) -> str:
    return f"^({'|'.join(patterns)})$" if patterns else _NOTHING


def _literal(names: Iterable[str]) -> list[str]:
    return [re.escape(name) for name in names]
