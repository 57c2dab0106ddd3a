"""The generated definitions on a real broker: imported, compared, each change of the broker named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue, pools
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from routing.__main__ import main
from routing.celery import celery_settings
from routing.management import ManagementApi
from routing.verify import Difference, differences
from services.domain.errors import Refused, Unavailable
from tests.support.broker import PASSWORDS, RIGHTS, TOPOLOGY, USERS, administrator, fill
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

VHOST = TOPOLOGY.vhost

Manage = tuple[str, str, Mapping[str, Any] | None]


def test_an_imported_broker_agrees(broker: PrivateRabbitMQ) -> None:
    """What is rendered is what the broker has after the import, users and permissions included."""
    assert differences(TOPOLOGY, administrator(broker)) == []


def test_an_emptied_node_has_none_of_the_old_connections(broker: PrivateRabbitMQ) -> None:
    """Of the harness: a pool keeps them by address, and whoever sends next would be given a closed one."""
    url = broker.broker_url(ADMINISTRATOR, broker.password, VHOST)
    for _ in range(2):
        with Connection(url) as address, pools.connections[address].acquire() as connection:
            connection.default_channel.queue_declare("db_writes", passive=True)
        broker.empty()
        fill(broker)


def test_importing_twice_changes_nothing(broker: PrivateRabbitMQ) -> None:
    """A second import of the same definitions is no error and leaves no difference."""
    fill(broker)
    assert differences(TOPOLOGY, administrator(broker)) == []


def test_kombu_has_nothing_to_add(broker: PrivateRabbitMQ) -> None:
    """Celery's own declaration of the delays finds all there, with equal arguments, and adds nothing."""
    url = broker.broker_url(ADMINISTRATOR, broker.password, VHOST)
    with Connection(url) as connection:
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        for queue in celery_settings(TOPOLOGY)["task_queues"]:
            declared = Queue(
                queue.name,
                Exchange(queue.exchange.name, type="topic"),
                queue.routing_key,
                queue_arguments=queue.queue_arguments,
            )
            declared(connection.default_channel).declare()
            bind_queue_to_native_delayed_delivery_exchange(connection, declared)
    assert differences(TOPOLOGY, administrator(broker)) == []


def test_an_empty_broker_lacks_the_vhost_and_every_user(node: PrivateRabbitMQ) -> None:
    """Verifying a broker without the definitions names the vhost, users and permissions it lacks."""
    node.empty()
    found = differences(TOPOLOGY, administrator(node))
    assert {d.kind for d in found} == {"missing"}
    assert {d.name for d in found if d.thing == "user"} == set(USERS)
    assert Difference("missing", "vhost", VHOST) in found


_ANY_QUEUE = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
_OF_BEAT = next(p for p in RIGHTS["permissions"] if p["user"] == "beat")

CHANGES: dict[str, tuple[list[Manage], list[str]]] = {
    "queue taken away": (
        [("DELETE", "queues/doorbell/db_writes", None)],
        [
            "missing queue db_writes",
            "missing binding doorbell -> queue db_writes with key db_writes",
            "missing binding doorbell -> queue db_writes with key #.db_writes",
        ],
    ),
    "queue too many": (
        [("PUT", "queues/doorbell/stray", _ANY_QUEUE)],
        ["extra queue stray"],
    ),
    "transient queue too many": (
        [("PUT", "queues/doorbell/stray", {"durable": False, "auto_delete": False})],
        ["extra queue stray"],
    ),
    "wrong arguments": (
        [
            ("DELETE", "queues/doorbell/maintenance.dead", None),
            (
                "PUT",
                "queues/doorbell/maintenance.dead",
                # RabbitMQ 4 would name the type by itself, 3.10 not.
                {"durable": True, "arguments": {"x-queue-type": "classic"}},
            ),
        ],
        [
            (
                "different queue maintenance.dead: argument x-delivery-limit is 'not set', "
                "should be 1000000000"
            ),
            (
                "different queue maintenance.dead: argument x-overflow is 'not set', "
                "should be 'reject-publish'"
            ),
            (
                "different queue maintenance.dead: argument x-queue-type is 'classic', "
                "should be 'quorum'"
            ),
            "missing binding doorbell.dead -> queue maintenance.dead with key maintenance",
        ],
    ),
    "exchange taken away": (
        [("DELETE", "exchanges/doorbell/celery_delayed_0", None)],
        [
            "missing exchange celery_delayed_0",
            "missing binding celery_delayed_0 -> queue celery_delayed_0 with key "
            + "*." * 27
            + "1.#",
            "missing binding celery_delayed_0 -> exchange celery_delayed_delivery with key "
            + "*." * 27
            + "0.#",
            "missing binding celery_delayed_1 -> exchange celery_delayed_0 with key "
            + "*." * 26
            + "0.#",
        ],
    ),
    "exchange of another type": (
        [
            ("DELETE", "exchanges/doorbell/doorbell.dead", None),
            ("PUT", "exchanges/doorbell/doorbell.dead", {"type": "direct", "durable": False}),
        ],
        [
            "different exchange doorbell.dead: type is 'direct', should be 'topic'",
            "different exchange doorbell.dead: durable is False, should be True",
            *(
                f"missing binding doorbell.dead -> queue {name}.dead with key {name}"
                for name in TOPOLOGY.queues
            ),
        ],
    ),
    "exchange too many": (
        [("PUT", "exchanges/doorbell/stray", {"type": "fanout"})],
        ["extra exchange stray"],
    ),
    "binding too many": (
        [("POST", "bindings/doorbell/e/doorbell/q/db_writes", {"routing_key": "#"})],
        ["extra binding doorbell -> queue db_writes with key #"],
    ),
    "policy": (
        [
            (
                "PUT",
                "policies/doorbell/short",
                {"pattern": ".*", "definition": {"max-length": 1}, "apply-to": "queues"},
            )
        ],
        ["extra policy short: arguments stand in the definitions"],
    ),
    "user taken away": (
        [("DELETE", "users/beat", None)],
        [
            "missing user beat",
            "missing permission of beat in doorbell",
            "missing topic permission of beat in doorbell on doorbell",
        ],
    ),
    "guest": (
        [
            ("PUT", "users/guest", {"password": "guest", "tags": "administrator"}),
            ("PUT", "permissions/doorbell/guest", {"configure": "", "write": "", "read": ".*"}),
        ],
        ["extra user guest", "extra permission of guest in doorbell"],
    ),
    "tag": (
        [("PUT", "users/beat", {"password": "x", "tags": "monitoring"})],
        ["different user beat: tags is ['monitoring'], should be []"],
    ),
    "permission": (
        [("PUT", "permissions/doorbell/beat", {"configure": "^$", "write": ".*", "read": "^$"})],
        [
            (
                "different permission of beat in doorbell: write is '.*', should be "
                f"{_OF_BEAT['write']!r}"
            ),
        ],
    ),
    "topic permission taken away": (
        [("DELETE", "topic-permissions/doorbell/beat", None)],
        ["missing topic permission of beat in doorbell on doorbell"],
    ),
    "topic permission of another": (
        [
            (
                "PUT",
                "topic-permissions/doorbell/beat",
                {"exchange": "doorbell", "write": ".*", "read": "^$"},
            )
        ],
        [
            (
                "different topic permission of beat in doorbell on doorbell: write is '.*', "
                "should be '^(maintenance)$'"
            ),
        ],
    ),
    "permission in another vhost": (
        [
            ("PUT", "vhosts/elsewhere", None),
            ("PUT", "permissions/elsewhere/beat", {"configure": "", "write": "", "read": ""}),
        ],
        ["extra permission of beat in elsewhere"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_named(broker: PrivateRabbitMQ, change: str) -> None:
    """Whatever is changed on the broker, verifying names it, and names nothing else."""
    steps, expected = CHANGES[change]
    if change == "transient queue too many" and broker.version >= (4,):
        pytest.skip("RabbitMQ 4.3 has no such queues any more")
    for method, path, body in steps:
        broker.manage(method, path, body)
    found = [str(difference) for difference in differences(TOPOLOGY, administrator(broker))]
    assert sorted(found) == sorted(expected)


def test_the_operator_may_verify_all_but_users(broker: PrivateRabbitMQ) -> None:
    """The operator's account compares queues and exchanges; for users it gets a clear refusal."""
    api = ManagementApi(broker.management_url, "operator", PASSWORDS["operator"])
    assert differences(TOPOLOGY, api, users=False) == []
    with pytest.raises(Refused, match="user operator may not read users"):
        differences(TOPOLOGY, api)


def test_an_unreachable_broker_is_said_so() -> None:
    """No answer is an error of its own kind, not a list of differences."""
    with pytest.raises(Unavailable, match="did not list vhosts"):
        differences(TOPOLOGY, ManagementApi("http://127.0.0.1:9", "a", "b", timeout_seconds=2))


def test_the_command_tells_by_its_exit_code(
    broker: PrivateRabbitMQ, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m routing verify` ends with 0 when all agrees, 1 with a difference, 2 when refused."""
    secret = tmp_path / "secret"
    secret.write_text(broker.password + "\n")
    arguments = [
        "verify",
        "--management-url",
        broker.management_url,
        "--password-file",
        str(secret),
    ]
    assert main([*arguments, "--user", ADMINISTRATOR]) == 0
    assert capsys.readouterr().out == "the broker agrees with the topology\n"
    broker.manage("PUT", "exchanges/doorbell/stray", {"type": "fanout"})
    assert main([*arguments, "--user", ADMINISTRATOR]) == 1
    assert capsys.readouterr().out == "extra exchange stray\n"
    assert main([*arguments, "--user", "operator"]) == 2
    assert "may not read" in capsys.readouterr().err
