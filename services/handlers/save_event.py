"""Stores logins with what the device check found."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.model import DeviceCheck
from services.domain.outcome import Done, Outcome
from services.handlers.check_device import missing_login
from services.handlers.ports import Transaction


def save_events(checks: Sequence[DeviceCheck], tx: Transaction) -> Sequence[Outcome]:
    """Store each login once, however often it is asked for."""
    saved = tx.save_logins(checks)
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
