"""Which day a sign-in belongs to, and when a day is told of, wherever the user is."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from services.domain.digest import day_of, due_at


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2026-03-01T23:30", "Europe/Berlin", "2026-03-02"),
        ("2026-03-01T04:59", "America/New_York", "2026-02-28"),
        ("2026-03-01T05:00", "America/New_York", "2026-03-01"),
        ("2026-03-01T23:30", None, "2026-03-01"),
        # Of data younger than ours: no login is lost for it.
        ("2026-03-01T23:30", "Mars/Olympus", "2026-03-01"),
    ],
)
def test_a_day_is_the_users(moment: str, zone: str | None, day: str) -> None:
    """By the clock of where the sign-in was; by UTC where that is not known."""
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert day_of(at, zone) == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("day", "hour", "zone", "due"),
    [
        ("2026-03-01", 8, None, "2026-03-02T08:00"),
        ("2026-03-27", 8, "Europe/Berlin", "2026-03-28T07:00"),
        # The clocks go forward in the night to the 29th, and back in the night to the 25th of October.
        ("2026-03-28", 8, "Europe/Berlin", "2026-03-29T06:00"),
        ("2026-10-24", 8, "Europe/Berlin", "2026-10-25T07:00"),
        # There is no two o'clock, and there are two of them.
        ("2026-03-28", 2, "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-10-24", 2, "Europe/Berlin", "2026-10-25T00:00"),
        ("2026-12-31", 0, "Pacific/Auckland", "2026-12-31T11:00"),
    ],
)
def test_a_day_is_told_of_at_an_hour_of_the_next(
    day: str, hour: int, zone: str | None, due: str
) -> None:
    """By the clock on the wall, also when that was put forward or back in between."""
    at = datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert due_at(date.fromisoformat(day), hour, zone) == at
