"""The main workflow: what one login causes."""

from __future__ import annotations

from uuid import UUID

from celery import Celery, chain, group
from celery.canvas import Signature


def login_workflow(app: Celery, workflow_id: UUID) -> Signature:
    """Check the device, then notify and save in parallel, then ask the API, then act on the answer.

    Signatures are by name: whoever sends this needs no task code. Error
    callbacks stand at the levels where they differ; README's table says what
    fires when.
    """
    login = str(workflow_id)

    def step(name: str, *args: object) -> Signature:
        return app.signature(name, args=args)

    def on_failure(name: str) -> Signature:
        # Celery prepends the failed step's id.
        return app.signature(name, args=(login,))

    check_device = step("device_checks.check_device", login)
    notify_user = step("notifications.notify_user")
    save_event = step("db_writes.save_event")
    score_login = step("external_api.score_login")
    apply_verdict = step("db_writes.apply_verdict")

    notify_user.link_error(on_failure("notifications.notify_plainly"))
    score_login.link_error(on_failure("db_writes.record_unscored"))
    in_parallel = group(notify_user, save_event, app=app)
    in_parallel.link_error(on_failure("maintenance.note_failed_group"))

    workflow = chain(check_device, in_parallel, score_login, apply_verdict, app=app)
    workflow.link_error(on_failure("maintenance.note_failed_workflow"))
    return workflow
