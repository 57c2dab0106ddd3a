"""A user's sign-ins of one day, told of together: which day, when, and what of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True, slots=True)
class DeviceOfDay:
    """The sign-ins of a day on one device; the fields beside `logins` and `is_new` are of the last of them.

    is_new: nobody had signed in on it before.
    """

    user_agent: str
    ip: str
    occurred_at: datetime
    time_zone: str | None
    logins: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Digest:
    """What is told of a day: some devices one by one, the others together."""

    day: date
    devices: Sequence[DeviceOfDay]
    other_devices: int
    other_logins: int

    @property
    def logins(self) -> int:
        return sum(device.logins for device in self.devices) + self.other_logins


def day_of(moment: datetime, zone: str | None) -> date:
    """The day by the clock of a time zone (IANA); by UTC without one."""
    return moment.astimezone(_zone(zone)).date()


def due_at(day: date, hour: int, zone: str | None) -> datetime:
    """When a day is told of: at this hour of the next day, by the clock of the time zone.

    An hour that the clock leaves out is the first moment behind it, one that it has twice is the first of them.
    """
    return datetime.combine(day + timedelta(days=1), time(hour), _zone(zone)).astimezone(UTC)


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except ZoneInfoNotFoundError:
        # A gateway whose data are younger took it: a login is not lost for that.
        return ZoneInfo("UTC")
