"""A worker whose tasks fail as long as a file says that they are broken.

Run as `python -m tests.integration.dead.worker_of_dead_tests POOL`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery, Task

from routing.commands import worker_options
from routing.load import load
from services import settings
from services.bootstrap import configure_runner
from services.celery_app import make_app
from services.domain.errors import Refused


def note(directory: str, line: str) -> None:
    """Leave a line for the test; one write, so that processes do not mix."""
    with (Path(directory) / "seen").open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def _obey(directory: str, name: str) -> None:
    if (Path(directory) / f"broken-{name}").exists():
        raise ValueError(f"{name} is broken")
    if (Path(directory) / f"refused-{name}").exists():
        raise Refused(f"{name} is refused")


def register(app: Celery, queue: str, directory: str) -> dict[str, Task[Any, Any]]:
    """Register the tasks with `app`, all on `queue`; what they do is noted in `directory`."""
    app.conf.task_routes = ({"mend.*": {"queue": queue}}, *(app.conf.task_routes or ()))

    @app.task(name="mend.work", shared=False)
    def work(*given: Any, name: str) -> str:
        """Its name, after a note; what it was given only shows that it came."""
        note(directory, f"ran {name}")
        _obey(directory, name)
        return name

    @app.task(name="mend.collect", shared=False)
    def collect(values: Any, name: str) -> list[Any]:
        """A join's body: keeps what it was given."""
        note(directory, f"ran {name}")
        _obey(directory, name)
        note(directory, f"collected {name} {values}")
        return [name, values]

    @app.task(name="mend.come_back", bind=True, shared=False, max_retries=1)
    def come_back(self: Task[Any, Any], name: str, seconds: int = 1) -> str:
        """Tries twice."""
        note(directory, f"ran {name} {self.request.retries}")
        try:
            _obey(directory, name)
        except ValueError as error:
            raise self.retry(countdown=seconds, exc=error) from error
        return name

    @app.task(name="mend.on_error", shared=False)
    def on_error(task_id: str, tag: str) -> None:
        """An error callback."""
        note(directory, f"error {tag}")

    tasks: list[Any] = [work, collect, come_back, on_error]
    return {task.name.split(".")[1]: task for task in tasks}


def main() -> None:
    """Run a worker until it is told to stop."""
    pool = sys.argv[1]
    current, topology = settings.load(), load()
    app = make_app(current, topology)
    register(app, pool, os.environ["HOME"])
    configure_runner(app, current, topology, pool)
    app.work(worker_options(topology, pool))


if __name__ == "__main__":
    main()
