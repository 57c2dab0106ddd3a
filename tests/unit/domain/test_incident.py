"""How an incident's users are dealt out."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.domain.incident import PORTION, SLICE, Slice, portions

INCIDENT = UUID(int=7)


@pytest.mark.parametrize("users", [1, SLICE, SLICE + 1, PORTION, PORTION + 1, 12_345])
@pytest.mark.parametrize("per_second", [None, 1, 7.5, 100, 5_000])
def test_every_user_is_in_one_slice(users: int, per_second: float | None) -> None:
    """Whatever the rate: none is left out, none is in two, and no step or slice has too many."""
    dealt = portions(INCIDENT, users, per_second)
    slices = [each for portion in dealt for each in portion.slices]
    positions = [at for each in slices for at in range(each.first, each.last)]
    assert positions == list(range(users))
    assert max(each.last - each.first for each in slices) <= SLICE
    assert max(portion.users.last - portion.users.first for portion in dealt) <= PORTION


@pytest.mark.parametrize("per_second", [1, 2.5, 33, 250])
def test_portions_keep_to_a_rate(per_second: float) -> None:
    """A portion begins when those before it have had their time, and in the long run none comes early."""
    for portion in portions(INCIDENT, 10_000, per_second):
        due = portion.users.first / per_second
        assert due - 1 < portion.delay_seconds <= due


def test_a_low_rate_makes_no_more_steps_than_can_be_kept() -> None:
    """One a second of 100,000 users is not one step for each of them."""
    assert len(portions(INCIDENT, 100_000, 1)) == 2_000


def test_a_slice_comes_back_from_a_message() -> None:
    """Ids and numbers: no user is in it."""
    assert Slice.from_message(Slice(INCIDENT, 3, 9).to_message()) == Slice(INCIDENT, 3, 9)
