"""A message knows its queue and its delay, and survives being stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.message import Message, queue_of


def message(routing_key: str = "db_writes", **headers: object) -> Message:
    return Message(
        "id", "db_writes.save_event", "doorbell", routing_key, headers, {}, "[[], {}, {}]"
    )


@pytest.mark.parametrize(
    ("routing_key", "queue", "seconds"),
    [
        # A message that goes straight to its queue.
        ("db_writes", "db_writes", 0),
        # A queue may have dots in its name: there are too few of them for a delay.
        ("eu.db_writes", "eu.db_writes", 0),
        # Celery's native delay: 28 bits, the highest first, then the queue.
        (".".join("0" * 27 + "1") + ".db_writes", "db_writes", 1),
        (".".join("1" * 28) + ".db_writes", "db_writes", 2**28 - 1),
        # The bits end at 28: what follows is the queue, dots and all.
        (".".join("0" * 25 + "101") + ".eu.db_writes", "eu.db_writes", 5),
    ],
)
def test_queue_and_delay(routing_key: str, queue: str, seconds: int) -> None:
    """Both are read from the routing key, which is all that a broker keeps."""
    assert message(routing_key).queue == queue_of(routing_key) == queue
    assert message(routing_key).delay_seconds == seconds


@given(seconds=st.integers(0, 2**28 - 1))
def test_every_delay(seconds: int) -> None:
    """Each number of seconds that the delay exchanges can hold is read back."""
    assert message(".".join(f"{seconds:028b}") + ".q").delay_seconds == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    headers=st.dictionaries(st.text(), JSON, max_size=4),
    properties=st.dictionaries(st.text(), JSON, max_size=4),
    body=st.text(),
)
def test_a_message_survives_the_ledger(
    headers: dict[str, object], properties: dict[str, object], body: str
) -> None:
    """What is read from the column is what was written into it."""
    sent = Message("id", "a.b", "doorbell", "db_writes", headers, properties, body)
    assert Message.from_json(json.loads(sent.to_json())) == sent


@pytest.mark.parametrize(
    ("headers", "retries"),
    [
        # Celery's protocol 2 has the header always, but other producers need not know it.
        ({}, 0),
        ({"retries": None}, 0),
        ({"retries": 3}, 3),
    ],
)
def test_retries(headers: dict[str, Any], retries: int) -> None:
    """A message without the header is a first attempt."""
    assert message(**headers).retries == retries
