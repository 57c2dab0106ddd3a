"""Tasks as a programmer writes them by hand, for canvases that nobody planned.

Run as `python -m tests.support.canvas_tasks POOL` for a worker of ours, or with
`--stock BROKER_URL RESULT_URL` for Celery as it comes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, group

from services.ledger.celery_amqp import LedgerApp


def note(directory: str, line: str) -> None:
    """Leave a line for the test; one write, so that processes do not mix."""
    with (Path(directory) / "seen").open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def register(  # noqa: C901, PLR0915  # one flat list of tiny tasks
    app: Celery, queue: str, directory: str
) -> dict[str, Task[Any, Any]]:
    """Register the tasks with `app`, all on `queue`; what they do is noted in `directory`."""
    tasks: dict[str, Task[Any, Any]] = {}
    by_hand = {"hand.*": {"queue": queue}, "celery.*": {"queue": queue}}
    app.conf.task_routes = (by_hand, *(app.conf.task_routes or ()))

    def task(function: Any = None, **options: Any) -> Any:
        def made(run: Any) -> Any:
            tasks[run.__name__] = app.task(
                run, name=f"hand.{run.__name__}", shared=False, **options
            )
            return tasks[run.__name__]

        return made(function) if function else made

    @task
    def add(x: float, y: float) -> float:
        return x + y

    @task
    def identity(value: object) -> object:
        return value

    @task
    def total(values: list[Any]) -> float:
        note(directory, "total")
        return sum(total.run(v) if isinstance(v, list) else v for v in values)

    @task
    def nested(values: list[Any]) -> list[Any]:
        note(directory, "nested")
        return values

    @task
    def fail(*_: object) -> None:
        raise ValueError("as asked")

    @task(bind=True, max_retries=3)
    def come_back(self: Task[Any, Any], value: int, times: int = 2) -> int:
        note(directory, f"come_back {value} {self.request.retries}")
        if self.request.retries < times:
            raise self.retry(countdown=1)
        return value

    @task(
        bind=True,
        autoretry_for=(ConnectionError,),
        retry_kwargs={"max_retries": 3, "countdown": 1},
    )
    def come_back_by_itself(self: Task[Any, Any], value: int) -> int:
        note(directory, f"come_back_by_itself {value} {self.request.retries}")
        if not self.request.retries:
            raise ConnectionError("as asked")
        return value

    @task(bind=True)
    def become(self: Task[Any, Any], value: int) -> Any:
        raise self.replace(chain(add.s(value, 1), add.s(10)))

    @task(bind=True)
    def become_group(self: Task[Any, Any], value: int) -> Any:
        raise self.replace(group(add.s(value, 1), add.s(value, 2)))

    @task
    def strange() -> object:
        return object()

    @task
    def large(size: int) -> str:
        return "x" * size

    @task
    def send_another() -> str:
        return str(add.delay(1, 1).id)

    @task
    def save_group() -> str:
        sent = group(add.s(1, 1), add.s(2, 2)).apply_async()
        sent.save()
        return str(sent.id)

    @task
    def on_error(task_id: str, tag: str = "") -> None:
        note(directory, f"error {tag}")

    @task
    def on_done(value: object) -> None:
        note(directory, f"done {value}")

    @task(ignore_result=True)
    def silent() -> str:
        note(directory, "silent")
        return "nobody keeps this"

    return tasks


def stock_app(broker_url: str, result_url: str) -> Celery:
    """Celery as it comes, with its Redis backend."""
    app = Celery("stock", broker=broker_url, backend=result_url, set_as_current=False)
    app.conf.update(task_default_queue="hand", broker_connection_retry_on_startup=True)
    return app


def our_app() -> LedgerApp:
    """The product's app from this process's environment."""
    from routing.load import load
    from services import settings
    from services.celery_app import make_app

    return make_app(settings.load(), load())


def main() -> None:
    """Run a worker until it is told to stop."""
    directory = os.environ["HOME"]
    if sys.argv[1] == "--stock":
        app = stock_app(sys.argv[2], sys.argv[3])
        register(app, "hand", directory)
        app.worker_main(["worker", "--pool=threads", "--concurrency=4", "--loglevel=WARNING"])
        return
    from routing.commands import worker_options
    from routing.load import load
    from services import settings
    from services.bootstrap import configure_runner, make_wiring, register_steps
    from services.celery_app import make_app

    pool = sys.argv[1]
    current, topology = settings.load(), load()
    ours = make_app(current, topology)
    register_steps(ours, topology, make_wiring(ours, current, topology))
    register(ours, pool, directory)
    configure_runner(ours, current, topology, pool)
    ours.work(worker_options(topology, pool))


if __name__ == "__main__":
    main()
