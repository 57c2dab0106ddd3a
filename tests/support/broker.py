"""The topology on a private node: what it should be, and clients of each of its users."""

from __future__ import annotations

from kombu import Connection

from routing.definitions import complete_definitions
from routing.load import load
from routing.management import ManagementApi
from routing.permissions import permissions
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

TOPOLOGY = load()
RIGHTS = permissions(TOPOLOGY)
USERS = tuple(user["name"] for user in RIGHTS["users"])
PASSWORDS = {name: f"password-of-{name}" for name in USERS}


def fill(node: PrivateRabbitMQ) -> None:
    """Import the complete definitions."""
    node.import_definitions(complete_definitions(TOPOLOGY, PASSWORDS))


def administrator(node: PrivateRabbitMQ) -> ManagementApi:
    """The management interface for the account that may read everything."""
    return ManagementApi(node.management_url, ADMINISTRATOR, node.password)


def url_of(node: PrivateRabbitMQ, user: str) -> str:
    """The broker's address for a user of the topology."""
    return node.broker_url(user, PASSWORDS[user], TOPOLOGY.vhost)


def connect(node: PrivateRabbitMQ, user: str) -> Connection:
    """A connection with publisher confirms for a user of the topology."""
    return Connection(url_of(node, user), transport_options={"confirm_publish": True})
