"""The machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Implements `services.handlers.ports.Clock` in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
