"""What a given-up step's message says about sending it again, and what waits behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord, group

from routing.load import load
from services.celery_app import make_app
from services.ledger.dead_canvas import (
    GENERATION_HEADER,
    all_behind,
    behind_message,
    behind_signature,
    generation_of,
    renewed,
)
from services.ledger.labels import label_of, unshown
from services.ledger.message import Message
from services.ledger.unit import Unit
from services.settings import Settings

APP = make_app(
    Settings(
        broker_url="pyamqp://x:y@127.0.0.1:1/x", database_url="postgresql://127.0.0.1:1/nowhere"
    ),
    load(),
)
TASK = "db_writes.save_event"


def step(name: str) -> Any:
    return APP.signature(TASK, args=("x",), task_id=name)


def messages(canvas: Any) -> dict[str, Message]:
    """What sending a canvas publishes, by the step's id."""
    unit = Unit()
    with unit.active():
        canvas.apply_async()
    return {message.step_id: message for message in unit.messages}


def message(**headers: object) -> Message:
    given = {"id": "s", "task": TASK, "retries": 2, **headers}
    return Message("s", TASK, "celery_delayed_27", "0.1.db_writes", given, {}, "[[], {}, {}]")


def test_a_chain_is_behind_its_first_step() -> None:
    """All of it, and no join."""
    [first] = messages(chain(step("a"), step("b"), step("c"), app=APP)).values()
    found = behind_message(first)
    assert (found.step_ids, found.leaves) == ({"b", "c"}, set())


def test_a_chain_in_a_header_ends_in_the_join_by_its_last_step() -> None:
    """The first step is no leaf itself; the body is behind the join."""
    sent = messages(chord([chain(step("a"), step("b")), step("c")], step("body"), app=APP))
    [leaf] = behind_message(sent["a"]).leaves
    assert leaf.step_id == "b"
    assert behind_signature(leaf.body).step_ids == {"body"}
    [sibling] = behind_message(sent["c"]).leaves
    assert (sibling.step_id, sibling.join_id) == ("c", leaf.join_id)


def test_joins_are_found_from_the_inside_outwards() -> None:
    """The inner body is a leaf of the outer join."""
    inner = chord([step("a"), step("b")], step("inner"), app=APP)
    sent = messages(chord([inner, step("c")], step("outer"), app=APP))
    [leaf] = behind_message(sent["a"]).leaves
    following = behind_signature(leaf.body)
    assert following.step_ids == {"inner"}
    [outer] = following.leaves
    assert (outer.step_id, outer.join_id == leaf.join_id) == ("inner", False)
    assert all_behind(sent["a"]) == {"inner", "outer"}


def test_all_members_of_a_group_body_are_behind() -> None:
    """And what follows them; the group's own id is among them, since Celery fails it too."""
    sent = messages(chord([step("a"), step("b")], group(step("x"), step("y")), app=APP))
    assert all_behind(sent["a"]) >= {"x", "y"}


def test_monitors_hear_all_of_a_renewed_message() -> None:
    """They have heard that it failed."""
    label = label_of(UUID(int=7), "0123456789abcdef")
    hidden = message(kwargsrepr=unshown(label))
    assert renewed(hidden, 2, "doorbell", "db_writes").headers["kwargsrepr"] == label
    strange = message(kwargsrepr="{'x': 1}")
    assert renewed(strange, 2, "doorbell", "db_writes").headers["kwargsrepr"] == "{'x': 1}"


def test_a_renewed_message_is_fresh() -> None:
    """Retries, delays, and what the broker added are gone; the work is the same."""
    old = message(**{"x-death": [{"count": 1}], "x-delivery-count": 3, "eta": "2026-01-01"})
    new = renewed(old, 2, "doorbell", "db_writes")
    assert (new.exchange, new.routing_key, new.retries) == ("doorbell", "db_writes", 0)
    assert not [name for name in new.headers if name.startswith("x-")]
    assert new.headers["eta"] is None
    assert (generation_of(old.headers), generation_of(new.headers)) == (1, 2)
    assert (new.body, new.step_id) == (old.body, old.step_id)
    json.dumps(new.headers)


@pytest.mark.parametrize(
    ("expires", "stays"),
    [
        (datetime.now(UTC) - timedelta(seconds=1), False),
        (datetime.now(UTC) + timedelta(hours=1), True),
        ("never heard of", False),
        (None, False),
    ],
)
def test_an_expiry_that_has_passed_is_taken_off(expires: Any, stays: bool) -> None:
    """Else the replayed message would expire at once."""
    text = expires.isoformat() if isinstance(expires, datetime) else expires
    found = renewed(message(expires=text), 2, "doorbell", "db_writes").headers["expires"]
    assert found == (text if stays else None)


@pytest.mark.parametrize("value", [None, "2", 1.5])
def test_a_strange_generation_is_the_first(value: object) -> None:
    """Headers are a stranger's to write."""
    assert generation_of({GENERATION_HEADER: value}) == 1


def test_a_body_without_a_canvas_has_nothing_behind() -> None:
    """Celery's own producers leave the embedded part empty or away."""
    assert all_behind(replace(message(), body="[[], {}, null]")) == set()
