"""The reference model ranks logins as deploy/ranking.md says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.bench.ranking import PAGE, PLOT, area, measure, render


def test_the_page_says_what_is_measured() -> None:
    """Each number in it; the plot beside it is there."""
    assert render(measure()) == PAGE.read_text()
    assert f"]({PLOT.name})" in PAGE.read_text()
    assert PLOT.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("users", "attacks", "expected"),
    [
        ([1.0, 2.0], [3.0], 1.0),
        ([1.0], [1.0], 0.5),
        ([2.0, 3.0], [1.0], 0.0),
        ([1, 3], [2, 4], 0.75),
    ],
)
def test_the_area_is_the_share_of_pairs_in_order(
    users: Sequence[float], attacks: Sequence[float], expected: float
) -> None:
    """An attack above a user counts one, beside one a half."""
    assert area(users, attacks) == expected
