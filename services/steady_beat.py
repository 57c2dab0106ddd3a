"""Celery's beat for a clock that may jump: intervals are counted by one that never does."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from services.broker_tls import explain
from services.observability.leading import TICKS

logger = logging.getLogger(__name__)

RECONNECT_STEP_SECONDS = 1
RECONNECT_LONGEST_SECONDS = 5
"""Celery's own pauses grow to half a minute: that long nothing would tick behind a broker that is back."""


class SteadyEntry(ScheduleEntry):
    """An entry that is due an interval after it ran, whatever the wall clock says meanwhile.

    Celery's own remembers the time of day: set back by an hour, it is silent for
    an hour. Entries by the time of day (crontab) stay what they are.
    """

    def __init__(self, *args: Any, ran_at: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ran_at = ran_at

    def _next_instance(self, last_run_at: Any = None) -> SteadyEntry:
        following: SteadyEntry = super()._next_instance(last_run_at)  # type: ignore[misc]  # not in the stub
        following.ran_at = monotonic()
        return following

    __next__ = next = _next_instance

    def is_due(self) -> Any:
        """Whether to run now, and the seconds until it is to be asked again."""
        every = getattr(self.schedule, "run_every", None)
        if every is None:
            return super().is_due()
        seconds = every.total_seconds()
        left = 0.0 if self.ran_at is None else self.ran_at + seconds - monotonic()
        return (True, seconds) if left <= 0 else (False, left)


class SteadyScheduler(Scheduler):
    """Keeps nothing in a file: every entry runs once when beat starts, which does no harm."""

    Entry = SteadyEntry
    app: Any
    data: Any
    adjust: Any

    def setup_schedule(self) -> None:
        # Not in Celery's order: its merge would take the default entries out again.
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.data)

    def tick(self, *args: Any, **options: Any) -> float:
        """Celery's own, which shows that it does."""
        self.app.heartbeat.beat("leading")
        TICKS.inc()
        return float(super().tick(*args, **options))

    def _ensure_connected(self) -> Any:
        def say_away(error: Exception, interval: float) -> None:
            logger.warning("the broker is away, trying again in %s s: %s", interval, explain(error))

        connection: Any = self.connection
        return connection.ensure_connection(
            say_away,
            None,
            interval_start=RECONNECT_STEP_SECONDS,
            interval_step=RECONNECT_STEP_SECONDS,
            interval_max=RECONNECT_LONGEST_SECONDS,
            callback=lambda: self.app.heartbeat.beat("waiting for the broker"),
        )

    def _when(self, entry: Any, next_time_to_run: float, **_: Any) -> float:
        """Celery's place of an entry in its heap, by the same steady clock."""
        return monotonic() + (self.adjust(next_time_to_run) or 0)
