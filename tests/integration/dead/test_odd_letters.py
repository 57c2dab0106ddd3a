"""Whatever lies in a dead-letter queue: the commands name it, drop it, and do their work on all the others."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from services.cli.main import run
from tests.integration.dead.conftest import POOL, VHOST, Bench, Operate
from tests.support.raw_message import (
    BEYOND_ALL_YEARS,
    BYTES,
    DECIMAL,
    HALF_A_CHARACTER,
    NO_TEXT,
    RawMessage,
    nested,
    table,
    text,
)

ODD: dict[str, dict[bytes, bytes]] = {
    "a time beyond all years": {b"odd": BEYOND_ALL_YEARS},
    "tables too deep": {b"odd": nested(4000)},
    "deep tables": {b"odd": nested(300)},
    "a zero in the id": {b"id": text("a\x00b")},
    "a zero in the task": {b"task": text("a\x00b")},
    "a zero in a value": {b"odd": text("a\x00b")},
    "half a character in the id": {b"id": HALF_A_CHARACTER},
    "half a character in a value": {b"odd": HALF_A_CHARACTER},
    "a name that is no text": {b"\xff\xfe": text("x")},
    "a name inside that is no text": {b"odd": b"F\x00\x00\x00\x05\x02\xff\xfet\x01"},
    "a value that is no text": {b"odd": NO_TEXT},
    "bytes": {b"odd": BYTES},
    "a decimal": {b"odd": DECIMAL},
    "two lines": {b"id": text("a\nb")},
}


def _odd(name: str) -> RawMessage:
    fields = {b"id": text(f"odd-{uuid4().hex}"), b"task": text("mend.work"), b"lang": text("py")}
    return RawMessage(json.dumps([[], {"name": "x"}, {}]), table({**fields, **ODD[name]}))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_letter_between_good_ones(
    idle: Bench, operate: Operate, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """It is listed, shown, not replayed or replayed, and dropped; the good ones are replayed beside it."""
    good = [uuid4().hex for _ in range(2)]
    _put(idle, good[0])
    idle.give_up(_odd(name))
    _put(idle, good[1])

    code, told = operate("dead", "list")
    assert (code, told["total"]) == (0, 3)
    (odd,) = (row for row in told["dead"] if row["id"] not in good)
    assert operate("dead", "show", odd["id"])[0] == 0
    assert operate("dead", "show", good[0])[0] == 0
    assert run(["dead", "list"]) == 0
    assert "\x1b[2J" not in capfd.readouterr().out
    rehearsed = {each["id"] for each in operate("dead", "replay", "--all", "--dry-run")[1]["done"]}
    replayed = {each["id"] for each in operate("dead", "replay", "--all")[1]["done"]}
    assert rehearsed == replayed
    assert set(good) <= replayed
    if odd["id"] not in replayed:
        assert operate("dead", "drop", odd["id"])[0] == 0
    assert idle.letters() == 0


def test_copies_of_a_letter_are_one_letter(idle: Bench, operate: Operate) -> None:
    """A message that was dead-lettered more than once is listed, replayed and dropped once."""
    replayed, dropped = uuid4().hex, uuid4().hex
    for _ in range(3):
        _put(idle, replayed)
        _put(idle, dropped)
    code, told = operate("dead", "list")
    assert (code, told["total"]) == (0, 2)
    assert {row["id"] for row in told["dead"]} == {replayed, dropped}

    code, told = operate("dead", "replay", replayed)
    assert (code, [each["id"] for each in told["done"]]) == (0, [replayed])
    code, told = operate("dead", "drop", dropped)
    assert (code, [each["id"] for each in told["done"]]) == (0, [dropped])
    assert idle.letters() == 0
    assert idle.node.peek(POOL, VHOST)[0] == 1


def test_a_step_id_behind_a_letter_that_postgresql_cannot_hold(
    idle: Bench, operate: Operate
) -> None:
    """It is named and refused; the others of the same list are replayed."""
    good, bad = uuid4().hex, uuid4().hex
    _put(idle, good)
    following = {"task": "mend.work", "args": [], "kwargs": {}, "options": {"task_id": "a\x00b"}}
    _put(idle, bad, {"chain": [following]})

    code, told = operate("dead", "replay", "--all")
    assert (code, [each["id"] for each in told["done"]]) == (1, [good])
    assert [each["id"] for each in told["problems"]] == [bad]
    assert "PostgreSQL cannot hold" in told["problems"][0]["problem"]
    assert operate("dead", "drop", bad)[0] == 0


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_an_argument_that_is_no_text(
    idle: Bench, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    """As a shell hands over bytes that are not UTF-8."""
    assert run(["dead", command, "\udcff"]) == 2
    assert "is not UTF-8" in capfd.readouterr().err


def _put(bench: Bench, step_id: str, embed: dict[str, Any] | None = None) -> None:
    body = json.dumps([[], {"name": step_id}, embed or {}]).encode()
    bench.put_letter(body, {"id": step_id, "task": "mend.work", "root_id": step_id})
