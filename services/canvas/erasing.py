"""A user is forgotten in one place after the other, which a certificate ends."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature


def erasing(app: Celery, erasure_id: UUID) -> Signature:
    """The rows first, for what is gone can be judged, and learned from, no more; the certificate last,
    when the application has heard of switches that were on.

    Immutable: no step needs another's result, and messages carry the erasure's id alone, which is
    its workflow's too.
    """
    whose = ({"erasure_id": str(erasure_id)},)
    places = (
        "maintenance.erase_exports",
        "maintenance.erase_user",
        "maintenance.clear_letters",
        "external_api.forget_user",
        "maintenance.certify_erasure",
    )
    return chain(*(app.signature(place, args=whose, immutable=True) for place in places), app=app)
