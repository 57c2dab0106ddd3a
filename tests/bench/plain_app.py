"""The main workflow as Celery's documentation writes one: the side that Doorbell is compared with.

Default settings and a Redis backend, promising nothing when something dies. With
RIVAL_IS_CAREFUL, what Celery itself offers against that: late acks, confirms, quorum queues.
"""

from __future__ import annotations

import os

from celery import Celery, chain, group
from celery.canvas import Signature
from kombu import Queue

from tests.bench import work
from tests.bench.work import Json

app = Celery("plain", broker=os.environ["RIVAL_BROKER"], backend=os.environ["RIVAL_BACKEND"])
if os.environ.get("RIVAL_IS_CAREFUL"):
    app.conf.update(
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue="careful",
        task_queues=[Queue("careful", queue_arguments={"x-queue-type": "quorum"})],
    )


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def check_device(login: Json) -> Json:
    """Is this the user's known device?"""
    return work.check_device(login)


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def notify_user(login: Json) -> bool:
    """Mail the user when the device is new, but not the first."""
    return work.notify_user(login)


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def save_event(login: Json) -> Json:
    """Store the login."""
    return work.save_event(login)


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def score_login(results: tuple[bool, Json]) -> Json:
    """Ask the outlier API."""
    return work.score_login(results[1])


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def apply_verdict(login: Json) -> str:
    """Store the verdict, flip switches by the same policy, tell the user of a high level."""
    return work.apply_verdict(login)


def workflow(login: Json) -> Signature:
    """The same canvas as Doorbell's."""
    return chain(
        check_device.s(login),
        group(notify_user.s(), save_event.s()),
        score_login.s(),
        apply_verdict.s(),
    )


def send(login: Json) -> None:
    """Send a login's workflow, as `tests.bench.rival_send` wants it."""
    workflow(login).delay()
