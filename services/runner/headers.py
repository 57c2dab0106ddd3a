"""Which headers of a task message can be believed: anybody who may publish can write anything into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from services.ledger.message import is_name

_INTEGER = 2**31
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INTEGER


def _is_limits(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(each is None or _is_seconds(each) for each in value)
    )


def _is_seconds(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < _INTEGER


def _is_moment(value: Any) -> bool:
    return moment_of(value) is not None


def moment_of(value: Any) -> datetime | None:
    """A moment as Celery writes it into headers (ISO 8601); None if it is none that can be computed with."""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # In every zone that anybody may be in.
        return moment.astimezone(UTC) if _EARLIEST < moment < _LATEST else None
    except (TypeError, ValueError, OverflowError):
        return None


def seconds_until(value: Any) -> float:
    """How far away a moment in a header is; 0 when it is over, or none."""
    moment = None if value is None else moment_of(value)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else 0.0


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "id": is_name,
    "task": is_name,
    "root_id": _or_none(is_name),
    "parent_id": _or_none(is_name),
    "group": _or_none(is_name),
    "shadow": _or_none(is_name),
    "group_index": _or_none(_is_count),
    "retries": _or_none(_is_count),
    "timelimit": _or_none(_is_limits),
    "eta": _or_none(_is_moment),
    "expires": _or_none(_is_moment),
    "x-delivery-count": _or_none(_is_count),
}
"""What runner and ledger use of Celery's headers (protocol 2) and of the broker's."""


def wrong_headers(headers: Mapping[str, Any]) -> list[str]:
    """Names of headers that are not what they must be; of the required ones also when they are missing."""
    return [name for name, is_right in _CHECKS.items() if not is_right(headers.get(name))]


def without(headers: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The headers but those."""
    return {name: value for name, value in headers.items() if name not in names}
