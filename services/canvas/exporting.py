"""A user is given what is kept about them: all stores are asked side by side, and their answers packed together."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chord
from celery.canvas import Signature


def exporting(app: Celery, workflow_id: UUID) -> Signature:
    """Collect from every store, then pack one archive; messages carry the workflow's id alone."""
    whose = ({"workflow_id": str(workflow_id)},)
    stores = [
        app.signature("maintenance.export_rows", args=whose),
        app.signature("external_api.export_learned", args=whose),
    ]
    return chord(stores, app.signature("maintenance.pack_export"), app=app)
