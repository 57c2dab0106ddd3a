"""Failpoints are armed by a setting; a wrong one is an error that says how it should look."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.errors import ConfigurationError
from services.runner.failpoints import Failpoints


@pytest.mark.parametrize(
    "spec",
    [
        # No point of that name.
        "after_lunch@a.b=/tmp/x",
        # No task.
        "after_commit=/tmp/x",
        "after_commit@=/tmp/x",
        # No file: it could not tell whether it has killed already.
        "after_commit@a.b",
        "after_commit@a.b=",
        # The second of two is wrong.
        "after_commit@a.b=/tmp/x,nonsense",
    ],
)
def test_wrong_specs(spec: str) -> None:
    """The error names the setting, the entry and the points there are."""
    with pytest.raises(
        ConfigurationError, match=r"DOORBELL_FAILPOINTS: '.*' is not POINT@TASK=FILE .*after_commit"
    ):
        Failpoints(spec)


def test_what_is_not_armed_does_nothing(tmp_path: Path) -> None:
    """Another point or another task goes by."""
    marker = tmp_path / "marker"
    points = Failpoints(f"after_commit@a.b={marker}")

    points.hit("after_commit", "a.c")
    points.hit("before_ack", "a.b")
    Failpoints().hit("after_commit", "a.b")
    assert not marker.exists()


def test_a_point_kills_once(tmp_path: Path) -> None:
    """Whoever finds the marker there lives on; surviving this line is the proof."""
    marker = tmp_path / "marker"
    marker.touch()
    Failpoints(f"before_ack@x.y={tmp_path / 'other'},after_commit@a.b={marker}").hit(
        "after_commit", "a.b"
    )
