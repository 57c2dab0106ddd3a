"""Stores logins with what the device check found, each with what is known of its network."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.digest import day_of, due_at
from services.domain.model import DeviceCheck
from services.domain.outcome import Done, Outcome
from services.handlers.check_device import missing_login
from services.handlers.ports import Networks, Transaction
from services.handlers.records import DayOfUser, ForDigest


def save_events(
    checks: Sequence[DeviceCheck], tx: Transaction, networks: Networks
) -> Sequence[Outcome]:
    """Store each login once, however often it is asked for; its day's digest is due the day after."""
    addresses = tx.addresses([check.workflow_id for check in checks])
    saved = tx.save_logins(checks, {i: networks.of(ip) for i, ip in addresses.items()})
    tx.put_into_digests({i: _day(login) for i, login in saved.items() if login is not None})
    return [
        Done(
            {
                "workflow_id": str(check.workflow_id),
                "saved": True,
                "device_id": str(check.device_id),
                "new_device": check.is_new,
            }
        )
        if check.workflow_id in saved
        else missing_login(check.workflow_id)
        for check in checks
    ]


def _day(login: ForDigest) -> DayOfUser:
    day = day_of(login.occurred_at, login.time_zone)
    due = due_at(day, login.hour, login.time_zone)
    return DayOfUser(login.tenant_id, login.user_id, day, due)
