"""Tasks as programmers write them, some of which end a stock canvas in silence; run by our worker or Celery's own.

Run as `python -m tests.integration.messaging.worker_of_messages POOL`, or with
`--stock BROKER_URL RESULT_URL` for Celery as it comes. A process that dies is followed by another.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from routing.commands import worker_options
from routing.load import load
from services import settings
from services.bootstrap import make_wiring, register_steps
from tests.integration.runner import worker_of_tests
from tests.integration.runner.worker_of_tests import note

_PR_SET_PDEATHSIG = 1
_PAUSE_SECONDS = 0.05

LEAVES = ("leaf_by_hand", "leaf_planned")
"""Leaves of headers whose process a failpoint kills once, between the join and the body's publish."""


def register(app: Any, queue: str) -> None:  # noqa: C901  # one flat list of tiny tasks
    """Declare the tasks, all on `queue`."""
    routes = {"hand.*": {"queue": queue}}
    app.conf.task_routes = (routes, *(app.conf.task_routes or ()))

    def task(run: Callable[..., Any], **options: Any) -> None:
        app.task(run, name=f"hand.{run.__name__}", shared=False, **options)

    def say(item: str) -> str:
        note(f"ran {item} {time.time()}")
        return item

    def ignore(item: str) -> None:
        note(f"ran {item} {time.time()}")
        raise Ignore

    def reject(item: str) -> None:
        note(f"ran {item} {time.time()}")
        raise Reject("as asked", requeue=False)

    def fail(item: str) -> None:
        raise ValueError(item)

    def body(results: list[Any], item: str) -> int:
        note(f"ran {item} {time.time()}")
        return len(results)

    def on_error(task_id: str, tag: str) -> None:
        note(f"error {tag} {task_id}")

    def come_back(self: Task[Any, Any], item: str, times: int, countdown: float) -> int:
        note(f"ran {item} {time.time()}")
        if self.request.retries < times:
            raise self.retry(countdown=countdown)
        return times

    def two(first: str, second: str) -> str:
        return first + second

    for plain in (say, ignore, reject, fail, body, on_error, two):
        task(plain)
    task(come_back, bind=True, max_retries=None)
    for name in LEAVES:
        app.task(say, name=f"hand.{name}", shared=False, acks_late=True)


def stock_app(broker_url: str, result_url: str) -> Any:
    """Celery as it comes, with its Redis backend."""
    app = Celery("stock", broker=broker_url, backend=result_url, set_as_current=False)
    app.conf.update(task_default_queue="hand", broker_connection_retry_on_startup=True)
    register(app, "hand")
    return app


def _stock_worker(broker_url: str, result_url: str) -> None:
    app = stock_app(broker_url, result_url)
    publish = app.amqp._retry_publish

    def die_once(function: Any, *args: Any, **options: Any) -> Any:
        """Where a header's last leaf, which has claimed the body, is about to publish it."""
        signature = getattr(function, "__self__", None) or {}
        if "claimed" in str(signature.get("args")) and worker_of_tests._first("claimed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return publish(function, *args, **options)

    app.amqp._retry_publish = die_once
    app.worker_main(["worker", "--pool=threads", "--concurrency=4", "--loglevel=WARNING"])


def _our_worker(pool: str) -> None:
    app, current = worker_of_tests.configured(), settings.load()
    # The product's own steps, for the reconciler's probe.
    register_steps(app, load(), make_wiring(app, current, load()))
    register(app, pool)
    app.runner = replace(app.runner, failpoints=current.failpoints)
    app.work(worker_options(load(), pool))


def main() -> None:
    """Run worker processes one after another until killed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            note(f"start {os.getpid()}")
            if sys.argv[1] == "--stock":
                _stock_worker(*sys.argv[2:])
            else:
                _our_worker(sys.argv[1])
            return
        try:
            os.waitpid(child, 0)
        except SystemExit:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
        note(f"end {child}")
        # A process that cannot start must not take the machine's time from the test.
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
