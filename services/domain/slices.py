"""Cuts the users of an import into slices, and slices into partitions that can be applied side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SLICE_LOGINS = 500
"""A slice is a few tenths of a second's work, for which its users are locked."""
STARMAP_SLICES = 4
PARTITION_STARMAPS = 20
"""A partition's chain travels in one message, which has its limits."""
MOST_PARTITIONS = 256

BUCKET_SHIFT = 64 - 12
"""Users are counted by the first bits of their keys."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The next SLICE_LOGINS logins of the users in some buckets; an end is in it too."""

    first: int
    last: int

    @property
    def keys(self) -> tuple[int, int]:
        """The lowest and the highest key of its users: signed, 64 bits."""
        return self.first << BUCKET_SHIFT, ((self.last + 1) << BUCKET_SHIFT) - 1


Partition = Sequence[Sequence[Slice]]
"""Its slices in order, those of one starmap together."""


def slices_of(logins: Mapping[int, int]) -> list[Slice]:
    """Slices that together take all logins, of which there are so many by bucket.

    Users of one bucket stay together; where these have more than a slice takes, as many slices follow each other.
    """
    slices: list[Slice] = []
    waiting: Slice | None = None
    size = 0
    for bucket, count in sorted(logins.items()):
        if waiting and size + count > SLICE_LOGINS:
            slices += [waiting] * -(-size // SLICE_LOGINS)
            waiting, size = None, 0
        waiting = Slice(waiting.first if waiting else bucket, bucket)
        size += count
    return slices + [waiting] * -(-size // SLICE_LOGINS) if waiting else slices


def partitions_of(slices: Sequence[Slice]) -> list[Partition]:
    """Partitions of whole users, in order.

    Raises:
        ValueError: it is more than can be planned.
    """
    per_partition = STARMAP_SLICES * PARTITION_STARMAPS
    parts: list[list[Slice]] = []
    for each in slices:
        is_same_users = bool(parts) and parts[-1][-1] == each
        if not parts or (len(parts[-1]) >= per_partition and not is_same_users):
            parts.append([])
        parts[-1].append(each)
    longest = max(map(len, parts), default=0)
    if len(parts) > MOST_PARTITIONS or longest > 4 * per_partition:
        raise ValueError(f"{len(slices):,} slices in {len(parts):,} partitions are too many")
    return [_starmaps(part) for part in parts]


def _starmaps(slices: Sequence[Slice]) -> Partition:
    size = max(STARMAP_SLICES, -(-len(slices) // PARTITION_STARMAPS))
    return [slices[at : at + size] for at in range(0, len(slices), size)]
