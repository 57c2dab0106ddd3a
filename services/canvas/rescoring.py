"""A login that has no score is asked about again, and what comes back is acted on as if it had come in time."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature


def rescoring(app: Celery, workflow_id: UUID) -> Signature:
    """Ask the outlier API, then act on the answer; without one the login stays as it is.

    When the API refuses to judge it, it is not asked again.
    """
    login = str(workflow_id)
    score_login = app.signature("external_api.score_login", args=([{"workflow_id": login}],))
    score_login.link_error(app.signature("db_writes.record_unscored", args=(login,)))
    return chain(score_login, app.signature("db_writes.apply_verdict"), app=app)
