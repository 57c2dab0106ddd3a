"""A user is forgotten: outside first, for whose rows are gone can no longer be named there."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature


def erasing(app: Celery, erasure_id: UUID) -> Signature:
    """Have the outlier API forget the user, then delete the rows; messages carry the erasure's id alone."""
    return chain(
        app.signature("external_api.forget_user", args=({"erasure_id": str(erasure_id)},)),
        app.signature("maintenance.erase_user"),
        app=app,
    )
