"""`doorbell topology`: the shape of the system, and whether a broker has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing.management import ManagementApi, TlsFiles
from routing.topology import Topology, dead_queue_name
from routing.verify import Difference, differences
from services.cli.endpoints import without_credentials
from services.domain.errors import ConfigurationError


def describe(topology: Topology) -> dict[str, Any]:
    """Pools with their queues, and tasks with where they go, for people and scripts."""
    return {
        "pools": [
            {
                "pool": pool.name,
                "style": pool.style,
                "concurrency": pool.concurrency,
                "queues": [
                    {"queue": name, "dead_letters": dead_queue_name(name)}
                    for name in topology.queues_of(pool.name)
                ],
            }
            for pool in topology.pools.values()
        ],
        "tasks": [
            {"task": name, "queue": task.queue, "sends": list(task.sends)}
            for name, task in topology.tasks.items()
        ],
    }


def management(
    url: str | None, user: str | None, password: str | None, tls: TlsFiles | None = None
) -> ManagementApi:
    """The broker's management interface.

    Raises:
        ConfigurationError: the address, the user or the password is not known, or a file of
            TLS cannot be used.
    """
    if url is None:
        raise ConfigurationError("the broker's management address is not known: --management-url")
    address, url_user, url_password = without_credentials(url)
    user, password = user or url_user, password or url_password
    if not user or not password:
        raise ConfigurationError("a user and a password are needed: --user and --password-file")
    return ManagementApi(address, user, password, tls)


def verify(topology: Topology, api: ManagementApi, *, users: bool) -> Sequence[Difference]:
    """Every difference between the broker and the topology."""
    return differences(topology, api, users=users)
