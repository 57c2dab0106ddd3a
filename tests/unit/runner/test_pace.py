"""How long lists grow: by how long the last one took, within bounds, where others are to be expected."""

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


def run(clock: Clock, paced: Pace, seconds: float, steps: int = ENOUGH) -> float:
    """Run a list that takes so long; returns how long the next may wait."""
    began_at = clock.now
    clock.now += seconds
    paced.note(began_at, steps)
    return paced.seconds_left(1)


def pause_after(clock: Clock, seconds: float) -> float:
    """How long the next list may wait after one that took so long, where many steps come."""
    paced = Pace()
    for _ in range(10):
        left = run(clock, paced, seconds)
    return left


def test_an_idle_pool_does_not_wait(clock: Clock) -> None:
    """Neither before its first list nor long after its last."""
    paced = Pace()
    assert paced.seconds_left(1) == 0.0
    run(clock, paced, 0.01)
    assert run(clock, paced, 0.01) > 0.0
    clock.now += LONGEST_SECONDS
    assert paced.seconds_left(1) == 0.0


@pytest.mark.parametrize(("between", "waits"), [(0.01, True), (0.02, False)], ids=["many", "few"])
def test_a_step_waits_where_others_are_to_be_expected(
    clock: Clock, between: float, waits: bool
) -> None:
    """Three in a pause of 30 ms are worth waiting for; one every 20 ms, as of logins one after another, is not."""
    paced = Pace()
    for _ in range(50):
        clock.now += between - 0.005
        left = run(clock, paced, 0.005, 1)
    assert (left > 0.0) is waits


def test_what_is_expected_is_not_the_last_list_alone(clock: Clock) -> None:
    """One step that came late does not end the waiting of many."""
    paced = Pace()
    for _ in range(50):
        clock.now += 0.005
        run(clock, paced, 0.005, 1)
    clock.now += 0.025
    assert run(clock, paced, 0.005, 1) > 0.0


def test_a_flood_that_is_over_is_soon_forgotten(clock: Clock) -> None:
    """Within a dozen lists of one step."""
    paced = Pace()
    for _ in range(20):
        assert run(clock, paced, 0.05) > 0.0
    for _ in range(12):
        clock.now += 0.065
        left = run(clock, paced, 0.005, 1)
    assert left == 0.0


def test_a_flood_after_an_idle_hour_is_noticed_at_its_second_list(clock: Clock) -> None:
    """The first step is alone; the hundreds that came meanwhile are a list, and show what to expect."""
    paced = Pace()
    clock.now += 3600.0
    assert run(clock, paced, 0.01, 1) == 0.0
    assert run(clock, paced, 0.05, 200) == pytest.approx(0.1)


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
    run(clock, paced, 1.0)
    assert paced.seconds_left(ENOUGH - 1) > 0.0
    assert paced.seconds_left(ENOUGH) == 0.0
