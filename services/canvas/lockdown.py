"""An incident's switches are turned on for many users, who are told; and turned off again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery, chain, group, xmap
from celery.canvas import Signature

from services.domain.incident import Portion


def lockdown(app: Celery, portions: Sequence[Portion]) -> Signature:
    """Portions side by side: in each a map over slices of its users turns the switches on, then they are told.

    No portion waits for another one's mails, and none that fails keeps others from
    being told: a chord around all would. Messages carry the incident's id and
    positions in it. A portion that is to wait does so at the broker.
    """

    def of(portion: Portion) -> Signature:
        switches = _mapped(app, "maintenance.switch_users", portion)
        if portion.delay_seconds:
            switches = switches.set(countdown=portion.delay_seconds)
        notices = app.signature(
            "notifications.notify_switched", args=(portion.users.to_message(),), immutable=True
        )
        return chain(switches, notices, app=app)

    return group([of(portion) for portion in portions], app=app)


def undoing(app: Celery, portions: Sequence[Portion]) -> Signature:
    """Take back what the portions did, side by side; nobody is told but the application."""
    return group([_mapped(app, "maintenance.switch_back", it) for it in portions], app=app)


def _mapped(app: Celery, task: str, portion: Portion) -> Signature:
    """What `task.map(slices)` is, of a task that is known by its name alone."""
    mapped: Any = app.signature(task)
    return xmap(mapped, [users.to_message() for users in portion.slices], app=app)
