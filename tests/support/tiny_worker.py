"""A Celery worker with tiny tasks on the real topology, under a pool's own broker user.

Run as `python -m tests.support.tiny_worker POOL BROKER_URL`.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, Task
from celery.worker.consumer import Consumer

from routing.celery import celery_settings
from routing.commands import worker_options
from routing.load import load

PASSED_ON = "maintenance.relay"
"""The task that each tiny task sends when its work is done."""


def make_app(broker_url: str) -> Celery:
    """Return an app that knows the topology and the broker; it stores no results."""
    app = Celery("tiny", broker=broker_url, set_as_current=False)
    app.conf.update(
        celery_settings(load()),
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        worker_hijack_root_logger=False,
    )
    return app


def main() -> None:
    """Run the worker until it is told to stop."""
    pool, broker_url = sys.argv[1:]
    # The broker's definitions have the delays already, and the pool's user may not declare them.
    Consumer.Blueprint.default_steps.remove(
        "celery.worker.consumer.delayed_delivery:DelayedDelivery"
    )
    app = make_app(broker_url)

    @app.task(name=f"{pool}.come_back", bind=True)
    def come_back(self: Task[Any, Any], text: str) -> None:
        if self.request.retries < 2:
            raise self.retry(countdown=1, queue=pool)
        app.send_task(PASSED_ON, args=[text, self.request.retries])

    app.Worker(
        pool_cls="solo", loglevel="INFO", task_events=True, **worker_options(load(), pool)
    ).start()


if __name__ == "__main__":
    main()
