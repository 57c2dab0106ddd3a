"""A user hears of a day's sign-ins in one mail: all devices are summed up side by side."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chord
from celery.canvas import Signature


def digesting(app: Celery, workflow_id: UUID, devices: int) -> Signature:
    """Sum up so many devices of the day one by one and all others together, then record the notice.

    Messages carry the workflow's id, places in its list and counts alone.
    """
    digest = {"workflow_id": str(workflow_id)}
    parts = [
        app.signature("maintenance.digest_device", args=({**digest, "position": position},))
        for position in range(devices)
    ]
    # Always there: of a header of one Celery makes a chain, whose end is given no list.
    others = app.signature("maintenance.digest_others", args=(digest,))
    return chord([*parts, others], app.signature("notifications.record_digest"), app=app)
