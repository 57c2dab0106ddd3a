"""How the many users of an incident are dealt out to steps of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

PORTION = 100
"""So many users at most one step is about."""
SLICE = 25
"""So many of them are dealt with at once: between two slices a step sees that it is to stop."""
_MOST_PORTIONS = 2_000


@dataclass(frozen=True, slots=True)
class Slice:
    """Those of an incident's users whose positions are from `first` up to `last`, which is not among them."""

    incident_id: UUID
    first: int
    last: int

    def to_message(self) -> dict[str, Any]:
        return {"incident_id": str(self.incident_id), "first": self.first, "last": self.last}

    @classmethod
    def from_message(cls, value: Mapping[str, Any]) -> Self:
        return cls(UUID(value["incident_id"]), int(value["first"]), int(value["last"]))


@dataclass(frozen=True, slots=True)
class Portion:
    """One step's users, slice by slice; it is not to begin before so many seconds."""

    slices: tuple[Slice, ...]
    delay_seconds: int

    @property
    def users(self) -> Slice:
        """All of them."""
        return Slice(self.slices[0].incident_id, self.slices[0].first, self.slices[-1].last)


def portions(incident_id: UUID, users: int, per_second: float | None = None) -> Sequence[Portion]:
    """Deal out this many users, none waiting for another; per_second: no more than so many in the long run.

    At a low rate portions are small, but never so small that there are more than 2,000.
    """
    wanted = PORTION if per_second is None else int(per_second)
    size = max(1, min(PORTION, wanted), -(-users // _MOST_PORTIONS))
    return [
        Portion(
            _slices(incident_id, first, min(first + size, users)),
            int(first / per_second) if per_second else 0,
        )
        for first in range(0, users, size)
    ]


def _slices(incident_id: UUID, first: int, last: int) -> tuple[Slice, ...]:
    return tuple(
        Slice(incident_id, start, min(start + SLICE, last)) for start in range(first, last, SLICE)
    )
