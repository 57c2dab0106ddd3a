"""The gateway's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.gateway.clock import DatabaseClock


def test_it_goes_on_from_what_it_was_told() -> None:
    """By a count that no change of the host's clock disturbs."""
    counted = 100.0
    clock = DatabaseClock(lambda: counted)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    told = datetime(2031, 1, 1, 12, tzinfo=UTC)
    clock.tell(told)
    counted += 90
    assert clock.now() == told + timedelta(seconds=90)
    clock.tell(told)
    assert clock.now() == told
