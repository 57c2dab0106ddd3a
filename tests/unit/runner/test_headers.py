"""Which headers are believed."""

from __future__ import annotations

from typing import Any

import pytest

from services.runner.headers import without, wrong_headers

GOOD: dict[str, Any] = {
    "id": "a",
    "task": "b.c",
    "root_id": "a",
    "parent_id": None,
    "group": None,
    "group_index": 3,
    "retries": 0,
    "timelimit": [None, 2.5],
    "lang": "py",
    "of the future": {"any": "thing"},
}


def test_celerys_own_are_right() -> None:
    """Also those that are left out, and those that nobody knows yet."""
    assert wrong_headers(GOOD) == []
    assert wrong_headers({"id": "a", "task": "b"}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 5),
        ("id", ""),
        ("id", "a\x00b"),
        ("id", "x" * 256),
        ("task", None),
        ("root_id", {"a": 1}),
        ("parent_id", 7),
        ("group", ["g"]),
        ("group_index", -1),
        ("retries", "often"),
        ("retries", 2**62),
        ("retries", True),
        ("timelimit", ["a", "b"]),
        ("timelimit", [1]),
        ("x-delivery-count", "1"),
    ],
)
def test_what_the_ledger_could_not_keep_is_named(name: str, value: object) -> None:
    """A wrong type, an impossible number, a text that PostgreSQL cannot store."""
    headers = GOOD | {name: value}
    assert wrong_headers(headers) == [name]
    assert wrong_headers(without(headers, [name])) == ([name] if name in ("id", "task") else [])
