"""Beat while the wall clock jumps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import Scheduler

from services.heartbeat import Heartbeat
from services.schedule import schedule
from services.steady_beat import SteadyScheduler

HOUR = timedelta(hours=1)


@pytest.fixture
def app() -> Iterator[Celery[Any]]:
    made: Celery[Any] = Celery("beat", broker="memory://", set_as_current=False)
    made.heartbeat = Heartbeat()
    made.conf.update(enable_utc=True, timezone="UTC", result_expires=60)
    made.conf.beat_schedule = {"tick": {"task": "tick", "schedule": 0.05}}
    yield made
    made.close()


def sent(app: Celery[Any], kind: type[Scheduler], jump: timedelta) -> int:
    """How often the entry is sent in a third of a second, in the middle of which the clock jumps."""
    count = 0
    now = app.now

    class Counting(kind):  # type: ignore[misc, valid-type]  # a scheduler, as chosen
        def apply_entry(self, entry: Any, producer: Any = None) -> None:
            nonlocal count
            count += 1

    scheduler = Counting(app=app, lazy=False)
    began = time.monotonic()
    for until in (0.1, 0.4):
        while time.monotonic() < began + until:
            scheduler.tick()
        app.now = lambda: now() + jump  # type: ignore[method-assign]  # the clock that jumps
        if until == 0.1:
            count = 0
    return count


@pytest.mark.parametrize("jump", [-HOUR, HOUR, timedelta()], ids=["back", "ahead", "none"])
def test_an_interval_goes_on(app: Celery[Any], jump: timedelta) -> None:
    """Whatever the clock says, the entry is sent about every interval, not once an hour and not at once again."""
    assert 3 <= sent(app, SteadyScheduler, jump) <= 7


def test_celerys_own_falls_silent(app: Celery[Any]) -> None:
    """Why there is a scheduler of our own."""
    assert sent(app, Scheduler, -HOUR) == 0


def test_the_cleanup_by_the_time_of_day_is_there(app: Celery[Any]) -> None:
    """Celery's default entry beside ours."""
    app.conf.beat_schedule = schedule()
    names = set(SteadyScheduler(app=app).schedule)
    assert names == schedule().keys() | {"celery.backend_cleanup"}
