"""JSON objects in which each name stands once: of two, readers take one or the other, and nobody says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SHOWN = 100


def once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these names and values, as the hook of Python's decoder (`object_pairs_hook`).

    Raises:
        ValueError: a name stands in it twice.
    """
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated[:_SHOWN]!r} occurs twice in one object")
    return value
