"""A unit holds back what a step writes and sends."""

from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import MessageTooLarge, Refused
from services.ledger.message import MAX_BODY_BYTES, MAX_HEADERS_BYTES
from services.ledger.unit import JoinPart, StoredResult, Unit, active_unit


def result(step_id: str, value: str = "1") -> StoredResult:
    return StoredResult(step_id, "SUCCESS", value, None, None, None, None, None, 0)


def collect(unit: Unit, body: bytes | str) -> None:
    unit.collect(body, "doorbell", "db_writes", {"id": "a", "task": "db_writes.save_event"}, {})


def test_merge_takes_everything_over() -> None:
    """The later result of a step wins; growth adds up; order is kept."""
    one = Unit(
        results={"a": result("a", "1"), "b": result("b")},
        parts=[JoinPart("join", "a", 0, "SUCCESS", "1", None)],
        join_sizes={"join": 2},
        join_growth={"join": 1},
    )
    other = Unit(
        results={"a": result("a", "2")},
        parts=[JoinPart("join", "b", 1, "SUCCESS", "1", None)],
        join_sizes={"other": 3},
        join_headers={"join": "[]"},
        join_growth={"join": 2, "other": 1},
        groups={"g": "[]"},
    )
    collect(one, "[1]")
    collect(other, "[2]")

    one.merge(other)

    assert one.results == {"a": result("a", "2"), "b": result("b")}
    assert [part.step_id for part in one.parts] == ["a", "b"]
    assert one.join_sizes == {"join": 2, "other": 3}
    assert one.join_headers == {"join": "[]"}
    assert one.join_growth == {"join": 3, "other": 1}
    assert one.groups == {"g": "[]"}
    assert [message.body for message in one.messages] == ["[1]", "[2]"]


@pytest.mark.parametrize(
    "body",
    [
        # Exactly the limit, in either type.
        "x" * MAX_BODY_BYTES,
        b"x" * MAX_BODY_BYTES,
    ],
)
def test_a_message_at_the_limit_is_collected(body: bytes | str) -> None:
    """64 KiB fit."""
    unit = Unit()
    collect(unit, body)
    assert len(unit.messages[0].body) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    "body",
    [
        "x" * (MAX_BODY_BYTES + 1),
        # Bytes count, not characters.
        "é" * (MAX_BODY_BYTES // 2 + 1),
    ],
)
def test_a_message_above_the_limit_is_refused(body: str) -> None:
    """The error names the task and what to do; nothing is collected."""
    unit = Unit()
    with pytest.raises(MessageTooLarge, match=r"db_writes\.save_event is \d+ bytes.*pass ids"):
        collect(unit, body)
    assert unit.messages == []


@pytest.mark.parametrize(
    ("headers", "properties", "says"),
    [
        ({"id": 7}, {}, r"task_id .*db_writes\.save_event: give it as text of .* not '7' \(int\)"),
        ({"id": "x" * 256}, {}, "task_id"),
        ({}, {"correlation_id": 7}, "correlation_id"),
        ({}, {"reply_to": 7}, "reply_to"),
        ({"baggage": "x" * MAX_HEADERS_BYTES}, {}, "the headers .* bytes, more than .*pass ids"),
        ({"baggage": [1] * MAX_HEADERS_BYTES}, {}, "the headers"),
    ],
)
def test_what_no_broker_would_take_is_refused(
    headers: dict[str, Any], properties: dict[str, Any], says: str
) -> None:
    """Before it is committed: afterwards nobody could be told."""
    unit = Unit()
    given = {"id": "step", "task": "db_writes.save_event"} | headers
    with pytest.raises(Refused, match=says):
        unit.collect("[]", "doorbell", "db_writes", given, properties)
    assert unit.messages == []


def test_the_active_unit_is_the_innermost() -> None:
    """And none is left behind, also after an exception."""
    outer, inner = Unit("outer"), Unit("inner")

    def blow_up() -> None:
        with inner.active():
            assert active_unit() is inner
            raise ValueError("as asked")

    with outer.active():
        with pytest.raises(ValueError, match="as asked"):
            blow_up()
        assert active_unit() is outer
    assert active_unit() is None
