"""Which headers of a task message can be believed: anybody who may publish can write anything into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_LONGEST_NAME = 255
_INTEGER = 2**31


def _is_name(value: Any) -> bool:
    """Text that PostgreSQL and AMQP can hold: UTF-8 without NUL, and no lone surrogate."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    try:
        return 0 < len(value.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INTEGER


def _is_limits(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(each is None or isinstance(each, int | float) for each in value)
    )


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "id": _is_name,
    "task": _is_name,
    "root_id": _or_none(_is_name),
    "parent_id": _or_none(_is_name),
    "group": _or_none(_is_name),
    "group_index": _or_none(_is_count),
    "retries": _or_none(_is_count),
    "timelimit": _or_none(_is_limits),
    "x-delivery-count": _or_none(_is_count),
}
"""What runner and ledger use of Celery's headers (protocol 2) and of the broker's."""


def wrong_headers(headers: Mapping[str, Any]) -> list[str]:
    """Names of headers that are not what they must be; of the required ones also when they are missing."""
    return [name for name, is_right in _CHECKS.items() if not is_right(headers.get(name))]


def without(headers: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The headers but those."""
    return {name: value for name, value in headers.items() if name not in names}
