"""How the users of an import are cut into slices and partitions."""

from __future__ import annotations

import random
from itertools import chain, pairwise

import pytest

from services.domain.slices import (
    PARTITION_STARMAPS,
    SLICE_LOGINS,
    STARMAP_SLICES,
    Slice,
    partitions_of,
    slices_of,
)


def _drawn(seed: int) -> dict[int, int]:
    drawn = random.Random(seed)
    return {
        drawn.randrange(-2048, 2048): drawn.choice((1, 40, 244, 500, 501, 7000)) for _ in range(600)
    }


@pytest.mark.parametrize("seed", range(20))
def test_slices_take_every_login_and_share_no_user(seed: int) -> None:
    """As many slices of the same users follow each other as these have logins for; none is larger than it may be."""
    counts = _drawn(seed)
    slices = slices_of(counts)
    distinct = list(dict.fromkeys(slices))
    assert all(one.last < other.first for one, other in pairwise(distinct))
    for each in distinct:
        logins = sum(n for bucket, n in counts.items() if each.first <= bucket <= each.last)
        assert slices.count(each) == -(-logins // SLICE_LOGINS)
    assert all(any(it.first <= b <= it.last for it in distinct) for b in counts)


@pytest.mark.parametrize("seed", range(20))
def test_a_partition_has_whole_users_in_order(seed: int) -> None:
    """Side by side two of them never touch the same user."""
    slices = slices_of(_drawn(seed))
    partitions = partitions_of(slices)
    flat = [list(chain.from_iterable(starmaps)) for starmaps in partitions]
    assert list(chain.from_iterable(flat)) == slices
    assert all(one[-1] != other[0] for one, other in pairwise(flat))
    assert max(map(len, partitions)) <= PARTITION_STARMAPS
    assert all(len(each) > 0 for starmaps in partitions for each in starmaps)


def test_few_logins_are_one_slice() -> None:
    """And none are none."""
    assert partitions_of(slices_of({-7: 3, 9: 4})) == [[[Slice(-7, 9)]]]
    assert partitions_of(slices_of({})) == []


def test_what_cannot_be_planned_is_refused() -> None:
    """One user's logins without end would be a message that is too long."""
    with pytest.raises(ValueError, match="too many"):
        partitions_of([Slice(1, 1)] * (5 * STARMAP_SLICES * PARTITION_STARMAPS))


def test_keys_are_signed_and_cover_everything() -> None:
    """From the lowest to the highest of 64 bits."""
    assert Slice(-2048, 2047).keys == (-(2**63), 2**63 - 1)
    assert Slice(0, 0).keys == (0, 2**52 - 1)
