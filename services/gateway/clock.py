"""The time by PostgreSQL's clock, which the whole fleet lives by, without asking for each login."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """The database's time when it was last told, plus what a clock that never jumps has counted since.

    So a host whose own clock jumps neither refuses logins that just happened nor
    takes such as lie in the future. Before it was first told it is the host's.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._told: tuple[datetime, float] | None = None

    def tell(self, now: datetime) -> None:
        """Set it; called about once a second while PostgreSQL answers."""
        self._told = (now, self._elapsed())

    def now(self) -> datetime:
        """The time, in UTC."""
        if self._told is None:
            return datetime.now(UTC)
        at, elapsed = self._told
        return at.astimezone(UTC) + timedelta(seconds=self._elapsed() - elapsed)
