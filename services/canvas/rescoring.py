"""A login that has no score is asked about again, and what comes back is acted on as if it had come in time."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature


def rescoring(app: Celery, workflow_id: UUID, time: int) -> Signature:
    """Ask the outlier API for the n-th time, then act on the answer; without one the login stays as it is.

    When the API refuses to judge it, it is not asked again. The steps' ids say
    which login they are about, so that it is not asked about anew meanwhile.
    """
    login, name = str(workflow_id), f"rescore-{workflow_id}-{time}"
    score_login = app.signature("external_api.score_login", args=([{"workflow_id": login}],))
    score_login.link_error(app.signature("db_writes.record_unscored", args=(login,)))
    apply_verdict = app.signature("db_writes.apply_verdict")
    return chain(
        score_login.set(task_id=f"{name}-score"),
        apply_verdict.set(task_id=f"{name}-apply"),
        app=app,
    )
