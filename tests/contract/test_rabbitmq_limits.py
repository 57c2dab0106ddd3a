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
