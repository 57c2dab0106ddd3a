"""An application is told what has happened: one step a receiver, for all that is due."""

from __future__ import annotations

from celery import Celery
from celery.canvas import Signature


def telling(app: Celery, tenant_id: str, turn: int) -> Signature:
    """Send a tenant's application what is due for it, if it is still this step's turn."""
    receiver = {"tenant_id": tenant_id, "turn": turn}
    return app.signature("notifications.tell_application", args=(receiver,))
