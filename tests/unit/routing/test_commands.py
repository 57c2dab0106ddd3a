"""The command lines and names of worker processes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from routing.commands import node_name, worker_command, worker_options
from routing.load import load
from services.domain.errors import ConfigurationError
from tests.unit.routing.small import GOOD, load_text

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


def test_celery_gets_the_pools_limits(tmp_path: Path) -> None:
    """Every queue of the pool, concurrency and both limits are those of the file."""
    more = GOOD.replace(
        "retries:", "  gongs: {pool: bells, delivery_limit: 20, max_length: 10}\nretries:"
    )
    assert worker_options(load_text(tmp_path, more), "bells") == {
        "hostname": f"bells@{socket.gethostname()}",
        "queues": ["bells", "gongs"],
        "concurrency": 10,
        "soft_time_limit": 2,
        "time_limit": 3,
        "without_mingle": True,
        "without_gossip": True,
    }


def test_an_unknown_pool_is_refused() -> None:
    """No worker is started for a pool that is not there."""
    for make in (worker_command, node_name, worker_options):
        with pytest.raises(ConfigurationError, match="no pool 'x'"):
            make(TOPOLOGY, "x")
