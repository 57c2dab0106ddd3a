"""Messages that no worker can do anything with, and what is to become of each."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

UNREADABLE = ("dead", "unreadable")
DONE = ("done", None)
NO_STEP = (None, None)
"""It names no step that a row could stand for: the dead letter is all there is."""


@dataclass(frozen=True)
class Poison:
    """What a foreign program publishes: `{id}` in a body is the step's id.

    fate: the step's state and reason; all but done steps have a dead letter.
    """

    fate: tuple[str | None, str | None]
    body: bytes | str = ""
    task: Any = "hand.say"
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    has_headers: bool = True

    def body_for(self, step_id: str) -> bytes | str:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body or arguments("{id}")).replace("{id}", step_id)

    def headers_for(self, step_id: str) -> dict[str, Any] | None:
        if not self.has_headers:
            return None
        usual = {"id": step_id, "root_id": step_id, "task": self.task, "lang": "py", "retries": 0}
        return {**usual, **self.headers}


def arguments(*args: Any, embed: Mapping[str, Any] | None = None, **kwargs: Any) -> str:
    """A body of Celery's protocol 2."""
    return json.dumps([args, kwargs, {**EMBED, **(embed or {})}])


_LONG = "".join(sha256(str(n).encode()).hexdigest() for n in range(125))
_BODY = {"task": "hand.body", "args": ["x"], "kwargs": {}, "options": {"task_id": "x"}}
_SPIRAL = {"task": "hand.say", "args": ["x"], "kwargs": {}, "options": {}, "subtask_type": "spiral"}
_DEATHS = [
    {
        "count": 1,
        "reason": "rejected",
        "queue": queue,
        "exchange": "doorbell",
        "routing-keys": [queue],
        "time": datetime(2026, 1, 1),  # noqa: DTZ001  # AMQP's times have no zone
    }
    for queue in ("db_writes", "notifications")
]

POISON: dict[str, Poison] = {
    "truncated JSON": Poison(UNREADABLE, arguments("{id}")[:-5]),
    "not JSON": Poison(UNREADABLE, b"\x89PNG\r\n\x1a\n\x00\xff"),
    "an empty body": Poison(UNREADABLE, b""),
    "another encoding": Poison(UNREADABLE, b"\xff\xfe[", content_encoding="klingon"),
    "no headers": Poison(NO_STEP, has_headers=False),
    "no headers and no JSON": Poison(NO_STEP, b"\x00", has_headers=False),
    "pickle": Poison(
        UNREADABLE,
        pickle.dumps((("x",), {}, EMBED)),
        content_type="application/x-python-serialize",
        content_encoding="binary",
    ),
    "unknown content type": Poison(UNREADABLE, content_type="application/x-yaml-of-2031"),
    "unknown task": Poison(("dead", "unknown_task"), task="hand.in_no_worker"),
    "compressed": Poison(
        UNREADABLE,
        zlib.compress(arguments("{id}").encode()),
        headers={"compression": "application/x-gzip"},
    ),
    "an id that is no text": Poison(NO_STEP, headers={"id": "half a \ud800"}),
    "too large": Poison(("dead", "too_large"), arguments("x" * 70_000)),
    "an argument too few": Poison(("dead", "bug"), arguments("one"), task="hand.two"),
    "an argument too many": Poison(("dead", "bug"), arguments("a", "b", "c"), task="hand.two"),
    "a keyword that is none": Poison(("dead", "bug"), arguments("a", "b", c=1), task="hand.two"),
    "no argument for a list": Poison(("dead", "bug"), arguments(), task="try.batch"),
    "a number for a list": Poison(("dead", "bug"), arguments(7), task="try.batch"),
    "no argument for a call": Poison(("dead", "bug"), arguments(), task="try.call"),
    "a body of four": Poison(UNREADABLE, json.dumps([["a"], {}, EMBED, {"v": 3}])),
    "a body nested too deeply": Poison(UNREADABLE, "[" * 60_000),
    "a canvas of another kind": Poison(
        ("dead", "bug"), arguments("{id}", embed={"chain": [_SPIRAL]})
    ),
    "nothing that can be told": Poison(
        ("dead", "bug"),
        arguments("{id}", embed={"chain": [1], "callbacks": 5, "errbacks": "x", "chord": 7}),
    ),
    "ids that PostgreSQL does not hold": Poison(
        UNREADABLE,
        arguments(
            "{id}",
            embed={
                "chain": [{**_BODY, "options": {"task_id": "a\x00"}}],
                "callbacks": [{"task": 5}],
                "errbacks": [{"task": "nope"}, 7],
                "chord": {"task": "x", "options": {"chord": 1}},
            },
        ),
    ),
    "a canvas that is none": Poison(("dead", "bug"), arguments("{id}", embed={"chain": "later"})),
    "unknown fields": Poison(
        DONE,
        arguments("{id}", embed={"then": ["x"], "doorbell": {"generation": 9}}),
        headers={"lang": "go", "task_version": 9, "protocol": 3, "x-shape": {"a": [1, 2]}},
    ),
    "text that PostgreSQL does not hold": Poison(
        DONE, arguments("a\x00", "\ud800"), task="hand.two"
    ),
    "an id that is a number": Poison(NO_STEP, headers={"id": 5}),
    "an id that is empty": Poison(NO_STEP, headers={"id": ""}),
    "an id too long": Poison(NO_STEP, headers={"id": _LONG}),
    "an id with a zero": Poison(NO_STEP, headers={"id": "a\x00b"}),
    "a task that is a number": Poison(NO_STEP, task=5),
    "a task with a zero": Poison(NO_STEP, task="hand.\x00"),
    "retries that are a word": Poison(UNREADABLE, headers={"retries": "often"}),
    "retries without end": Poison(UNREADABLE, headers={"retries": 2**62}),
    "an eta that is no time": Poison(UNREADABLE, headers={"eta": "soon"}),
    "an eta that is a number": Poison(UNREADABLE, headers={"eta": 5}),
    "an eta before all time": Poison(UNREADABLE, headers={"eta": "0001-01-01T00:00:00+14:00"}),
    "an eta after all time": Poison(UNREADABLE, headers={"eta": "9999-12-31T23:59:59-14:00"}),
    "an eta too far away": Poison(UNREADABLE, headers={"eta": "8999-12-31T23:59:59+00:00"}),
    "limits below zero": Poison(UNREADABLE, headers={"timelimit": [-5, -5]}),
    "limits without end": Poison(UNREADABLE, headers={"timelimit": [2**62, 2**62]}),
    "an id of two lines": Poison(NO_STEP, headers={"id": "a\nCRITICAL forged"}),
    "an id that clears the screen": Poison(NO_STEP, headers={"id": "a\x1b[2J"}),
    "an expiry that is no time": Poison(UNREADABLE, headers={"expires": "soon"}),
    "limits that are words": Poison(UNREADABLE, headers={"timelimit": ["a", "b"]}),
    "limits that are one": Poison(UNREADABLE, headers={"timelimit": 5}),
    "a root that is a map": Poison(UNREADABLE, headers={"root_id": {"a": 1}}),
    "a parent with a zero": Poison(UNREADABLE, headers={"parent_id": "a\x00b"}),
    "a group that is a map": Poison(UNREADABLE, headers={"group": {"a": 1}}),
    "a place in a group that is a word": Poison(
        UNREADABLE,
        arguments("{id}", embed={"chord": _BODY}),
        headers={"group": "group-of-poison", "group_index": "first"},
    ),
    "a count of deliveries that is a word": Poison(
        UNREADABLE, headers={"x-delivery-count": "many"}
    ),
    "deaths that are numbers": Poison(UNREADABLE, b"{", headers={"x-death": [5]}),
    "deaths of nobody": Poison(UNREADABLE, b"{", headers={"x-death": [None]}),
    "deaths of deaths": Poison(UNREADABLE, b"{", headers={"x-death": [_DEATHS]}),
    "deaths, and a number": Poison(UNREADABLE, b"{", headers={"x-death": [*_DEATHS, 5]}),
    "deaths counted by a truth": Poison(
        UNREADABLE, b"{", headers={"x-death": [{**death, "count": True} for death in _DEATHS]}
    ),
    "deaths counted by a fraction": Poison(
        UNREADABLE, b"{", headers={"x-death": [{**death, "count": 1.5} for death in _DEATHS]}
    ),
    "deaths as they are": Poison(UNREADABLE, b"{", headers={"x-death": _DEATHS}),
    "a good message with such deaths": Poison(DONE, headers={"x-death": [5]}),
}
