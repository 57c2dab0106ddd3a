"""How long lists grow: by how long the last one took, within bounds."""

from __future__ import annotations

import pytest

from services.runner import pace
from services.runner.pace import ENOUGH, LEAST_SECONDS, LONGEST_SECONDS, Pace


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "monotonic", made)
    return made


def pause_after(clock: Clock, seconds: float) -> float:
    """How long the next list may wait after one that took so long."""
    paced = Pace()
    began_at = clock.now
    clock.now += seconds
    paced.note(began_at)
    return paced.seconds_left(1)


def test_an_idle_pool_does_not_wait(clock: Clock) -> None:
    """Neither before its first list nor long after its last."""
    paced = Pace()
    assert paced.seconds_left(1) == 0.0
    paced.note(clock.now)
    clock.now += LONGEST_SECONDS
    assert paced.seconds_left(1) == 0.0


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.0, LEAST_SECONDS), (0.05, 0.1), (30.0, LONGEST_SECONDS)],
    ids=["quick", "busy", "held up"],
)
def test_the_pause_follows_the_last_list(clock: Clock, took: float, pause: float) -> None:
    """Twice as long as it took; a list that waited for somebody's lock does not hold up the next for long."""
    assert pause_after(clock, took) == pytest.approx(pause)


def test_enough_waits_no_longer(clock: Clock) -> None:
    """A list that has grown begins, however long the last one took."""
    paced = Pace()
    clock.now += 1.0
    paced.note(clock.now - 1.0)
    assert paced.seconds_left(ENOUGH - 1) > 0.0
    assert paced.seconds_left(ENOUGH) == 0.0
