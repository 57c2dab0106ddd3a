"""Every way to run the broker has the same bound for a message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.ledger.message import MAX_BODY_BYTES

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATIONS = (
    "deploy/docker/rabbitmq.conf",
    "deploy/local/rabbitmq.conf.template",
    "ansible/roles/rabbitmq/templates/rabbitmq.conf.j2",
)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_broker_refuses_what_no_publisher_of_ours_sends(name: str) -> None:
    """Above a body, its headers and a list of events; far below what would fill a consumer's memory."""
    found = re.findall(r"^max_message_size = (\d+)$", (ROOT / name).read_text(), re.MULTILINE)

    assert [int(size) for size in found] == [4 * MAX_BODY_BYTES]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_log_of_quorum_queues_does_not_fill_the_memory(name: str) -> None:
    """It is kept in memory until it is full, and a second one while the first is written out.

    At RabbitMQ's 512 MiB ordinary load alone went past what a container may use.
    """
    found = re.findall(
        r"^raft.wal_max_size_bytes = (\d+)$", (ROOT / name).read_text(), re.MULTILINE
    )

    assert found
    [watermark] = re.findall(
        r"^vm_memory_high_watermark.absolute = (\d+)MB$",
        (ROOT / "deploy/docker/rabbitmq.conf").read_text(),
        re.MULTILINE,
    )
    assert 4 * int(found[0]) < int(watermark) * 10**6
