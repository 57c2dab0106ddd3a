"""One notice's way out; it stands outside the chord so that a hanging mail server delays no verdict."""

from __future__ import annotations

from celery import Celery
from celery.canvas import Signature

NOTICE_TASK = "notifications.deliver_notice"
"""The step that sends a notice."""


def delivery(app: Celery, notice_id: str, queue: str | None = None) -> Signature:
    """Deliver a recorded notice; then record the receipt, or on failure try the next channel.

    queue: where it waits in place of its own; its callbacks wait where they always do.
    """
    deliver = app.signature(
        NOTICE_TASK,
        args=(notice_id,),
        link=[app.signature("notifications.record_receipt")],
        link_error=[
            app.signature("notifications.try_next_channel", args=(notice_id,), immutable=True)
        ],
    )
    return elsewhere(deliver, queue)


def elsewhere(signature: Signature, queue: str | None) -> Signature:
    """The same for another queue, and the signature itself as it was; None: for its own."""
    return signature.clone().set(queue=queue) if queue else signature
