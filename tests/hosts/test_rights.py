"""What a pool's stolen host and password are good for: its own queue, and nothing of anybody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kombu.transport.native_delayed_delivery import calculate_routing_key

from routing.load import load
from routing.permissions import permissions
from routing.topology import dead_queue_name
from tests.hosts import broker_rights
from tests.hosts.installation import Installation

pytestmark = pytest.mark.timeout(600)

TOPOLOGY = load()
USERS = tuple(user["name"] for user in permissions(TOPOLOGY)["users"])
WORK = tuple(str(queue) for queue in TOPOLOGY.queues)
DEAD = tuple(dead_queue_name(queue) for queue in WORK)
LEVELS = tuple(TOPOLOGY.delays.level_name(level) for level in range(TOPOLOGY.delays.levels))
ENTRANCE = TOPOLOGY.delays.entrance
OTHERS = ("", "amq.direct", "amq.fanout", "amq.topic", TOPOLOGY.dead_exchange, TOPOLOGY.delays.exit)
DELAYED = {queue: calculate_routing_key(1, queue) for queue in WORK}
WAYS = [
    *((TOPOLOGY.work_exchange, queue) for queue in WORK),
    *((ENTRANCE, key) for key in DELAYED.values()),
    *((exchange, queue) for exchange in OTHERS for queue in WORK),
]

Rights = dict[str, dict[str, list[str]]]

_PYTHON = "/opt/doorbell/current/venv/bin/python"


@pytest.fixture(scope="module")
def rights(installation: Installation) -> Rights:
    """What each user may do, tried with its password from a pool's host that has a certificate.

    No login is reported meanwhile, whose messages this would take away.
    """
    asked = {
        "users": installation.controller.secrets()["vault_broker_passwords"],
        "vhost": TOPOLOGY.vhost,
        "queues": [*WORK, *DEAD, *LEVELS],
        "exchanges": [
            TOPOLOGY.work_exchange,
            ENTRANCE,
            *LEVELS,
            *(name for name in OTHERS if name),
        ],
        "ways": WAYS,
        "brokers": ["broker1", "broker2", "broker3"],
    }
    program = Path(broker_rights.__file__).read_text()
    told = installation.fleet.run(
        "checks1", _PYTHON, "-c", program, stdin=json.dumps(asked), seconds=600
    )
    found: Rights = json.loads(told)
    purge(installation)
    return found


def purge(installation: Installation) -> None:
    """Take away what was published to try it: to a pool it is a message that cannot be read."""
    for queue in DEAD:
        installation.fleet.run(
            "broker1", "rabbitmqctl", "-q", "-p", TOPOLOGY.vhost, "purge_queue", queue
        )


@pytest.mark.parametrize("user", USERS)
def test_a_user_reads_its_own_queues(rights: Rights, user: str) -> None:
    """Getting, consuming and purging: a pool its own queue, operator and maintenance the dead ones."""
    expected = set(DEAD) if user in ("operator", "maintenance") else set()
    if user in TOPOLOGY.pools:
        expected |= {str(queue) for queue in TOPOLOGY.queues_of(user)}
    found = {way: set(rights[user][way]) for way in ("read", "consume", "purge")}
    assert found == dict.fromkeys(found, expected)


@pytest.mark.parametrize("user", USERS)
def test_nobody_changes_what_is_declared(rights: Rights, user: str) -> None:
    """Nothing can be deleted, declared or bound."""
    found = {way: rights[user][way] for way in ("delete", "declare", "bind", "feed")}
    assert found == {key: [] for key in found}


@pytest.mark.parametrize("user", USERS)
def test_a_user_writes_where_it_sends(rights: Rights, user: str) -> None:
    """Work goes where the topology has it go, at once or by the delay exchanges, and by no way around."""
    sends = TOPOLOGY.users[user].sends if user in TOPOLOGY.users else TOPOLOGY.sends_of(user)
    expected = {f"{TOPOLOGY.work_exchange} {queue}" for queue in sends}
    if user in (*TOPOLOGY.pools, "operator"):
        expected |= {f"{ENTRANCE} {DELAYED[str(queue)]}" for queue in sends}
    if user == "operator":
        expected |= {f"{TOPOLOGY.dead_exchange} {queue}" for queue in WORK}
    assert set(rights[user]["publish"]) == expected


@pytest.mark.parametrize("user", USERS)
def test_the_management_interface_is_out_of_reach(rights: Rights, user: str) -> None:
    """From a pool's host no broker's management answers at all."""
    assert rights[user]["manage"] == []


def test_a_password_without_a_certificate_opens_nothing(installation: Installation) -> None:
    """Who does not show a certificate of the fleet's CA is turned away before it can say its password."""
    told = connect(installation, with_certificate=False)
    assert told["error"]
    assert "ssl" in told["error"].lower()


def test_a_wrong_password_opens_nothing(installation: Installation) -> None:
    """A host's certificate alone is no user."""
    told = connect(installation, with_certificate=True)
    assert told["error"]
    assert "ACCESS_REFUSED" in told["error"]


_CONNECT = """
import amqp, json, ssl, sys
asked = json.load(sys.stdin)
tls = {"ca_certs": "/etc/doorbell/tls/ca.crt", "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "broker"}
if asked["with_certificate"]:
    tls |= {"certfile": "/etc/doorbell/tls/host.crt", "keyfile": "/etc/doorbell/tls/host.key"}
error = None
try:
    with amqp.Connection("127.0.0.1:5671", userid=asked["user"], password=asked["password"],
            virtual_host=asked["vhost"], ssl=tls) as connection:
        connection.channel()
except Exception as caught:
    error = f"{type(caught).__module__}.{type(caught).__name__}: {caught}"
print(json.dumps({"error": error}))
"""


def connect(installation: Installation, with_certificate: bool) -> Any:
    """Try to connect from a pool's host: with its certificate and a wrong password, or the other way round."""
    words = installation.controller.secrets()["vault_broker_passwords"]
    asked = {
        "user": "device_checks",
        "password": "wrong" if with_certificate else words["device_checks"],
        "vhost": TOPOLOGY.vhost,
        "with_certificate": with_certificate,
    }
    told = installation.fleet.run("checks1", _PYTHON, "-c", _CONNECT, stdin=json.dumps(asked))
    return json.loads(told)
