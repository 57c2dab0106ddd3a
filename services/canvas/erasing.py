"""A user is forgotten: the rows first, for what is gone can be judged, and learned from, no more."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature


def erasing(app: Celery, erasure_id: UUID) -> Signature:
    """Delete the user's rows, then have the outlier API forget; messages carry the erasure's id alone.

    The steps' ids say which erasure they are of.
    """
    erase_user, forget_user = steps_of(erasure_id)
    return chain(
        app.signature("maintenance.erase_user", args=({"erasure_id": str(erasure_id)},)).set(
            task_id=erase_user
        ),
        app.signature("external_api.forget_user").set(task_id=forget_user),
        app=app,
    )


def steps_of(erasure_id: UUID) -> tuple[str, str]:
    """The ids of an erasure's steps, in their order."""
    return f"erasure-{erasure_id}-rows", f"erasure-{erasure_id}-forget"
