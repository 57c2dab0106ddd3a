"""The command lines and names of worker processes."""

from __future__ import annotations

import pytest

from routing.commands import celery_arguments, node_name, worker_command
from routing.load import load
from services.domain.errors import ConfigurationError

TOPOLOGY = load()


def test_a_worker_is_started_by_its_pool() -> None:
    """The pool is the one argument; further processes of a host have a number."""
    assert worker_command(TOPOLOGY, "db_writes") == (
        "python",
        "-m",
        "services.worker",
        "db_writes",
    )
    assert worker_command(TOPOLOGY, "db_writes", "/x/python", 2)[3:] == (
        "db_writes",
        "--process",
        "2",
    )


def test_processes_of_one_host_have_different_names() -> None:
    """Their control queues are exclusive: two of one name would not start."""
    assert node_name(TOPOLOGY, "db_writes") == "db_writes@%h"
    assert node_name(TOPOLOGY, "db_writes", 2) == "db_writes.2@%h"


def test_celery_gets_the_pools_limits() -> None:
    """Queue, concurrency and both limits are those of the file."""
    assert celery_arguments(TOPOLOGY, "external_api") == (
        "worker",
        "--hostname=external_api@%h",
        "--queues=external_api",
        "--concurrency=32",
        "--soft-time-limit=20",
        "--time-limit=30",
        "--without-mingle",
        "--without-gossip",
    )


def test_an_unknown_pool_is_refused() -> None:
    """No worker is started for a pool that is not there."""
    for make in (worker_command, node_name, celery_arguments):
        with pytest.raises(ConfigurationError, match="no pool 'x'"):
            make(TOPOLOGY, "x")
