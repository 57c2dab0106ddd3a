"""A pool's worker with steps that do what their message says; a process that dies is followed by another.

Run as `python -m tests.integration.runner.worker_of_tests POOL [PROCESS]`.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery, signals
from psycopg import Connection

from routing.commands import worker_options
from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed, Outcome
from services.domain.retry import RetryPolicy
from services.runner.config import RunnerConfig
from services.runner.consumer import StepConsumer
from services.runner.pool import StepPool
from services.runner.task import Steps

FEW = 2
"""So many calls of `try.few` are in flight at most."""

POLICY = RetryPolicy(limit=1, base_seconds=1, cap_seconds=1)

_PR_SET_PDEATHSIG = 1
_SIGNALS = (
    *("task_received", "task_prerun", "task_success", "task_failure", "task_retry"),
    *("task_postrun", "task_revoked"),
)

_ANSWERS: Mapping[str, Callable[[str], Any]] = {
    "refuse": lambda item: Failed(Refused(item)),
    "unavailable": lambda item: Failed(Unavailable(item)),
    "strange": lambda _: Done({"item": object()}),
    "large": lambda _: Done({"item": "x" * 70_000}),
    "nothing": lambda _: None,
}
"""What an item's first word has a handler answer with; of the last three nobody can make anything."""

# Imported before the first fork, so that each process starts quickly and with the same code.
IMPORTED = (StepConsumer, StepPool)


def note(line: str) -> None:
    """Leave a line for the test; one write, so that processes do not mix."""
    with (Path(os.environ["HOME"]) / "seen").open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def _first(marker: str) -> bool:
    try:
        os.close(os.open(Path(os.environ["HOME"]) / marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def obey(item: str) -> Outcome:  # noqa: C901, PLR0912  # one flat list of what a test may ask for
    """Do what an item like `ok 7` or `sleep once 8` says."""
    words = item.split()
    note(f"ran {item}")
    if words[1] == "once" and not _first(f"once-{item}".replace(" ", "-")):
        return Done({"item": item})
    if words[0] in _ANSWERS:
        return _ANSWERS[words[0]](item)
    match words[0]:
        case "raise":
            raise ValueError(f"as asked: {item}")
        case "memory":
            raise MemoryError(item)
        case "away":
            raise psycopg.errors.AdminShutdown(item)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "slow":
            raise TimeoutError(item)
        case "linger":
            _linger(0.5)
        case "gate":
            _stand_at(Path(os.environ["HOME"]) / item.replace(" ", "-"))
        case "hold":
            _linger(8)
        case "busy":
            _linger(60)
        case "stuck":
            time.sleep(60)
    return Done({"item": item})


def obey_apart(items: Sequence[dict[str, str]]) -> list[Outcome]:
    """Take what it is to do out of what it was given, and do it for one item alone."""
    words = [item.pop("word") for item in items]
    if len(words) > 1:
        raise ValueError("as asked")
    return [obey(word) for word in words]


def _linger(seconds: float) -> None:
    """Long work that the interpreter may interrupt, as a time limit does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def _stand_at(gate: Path) -> None:
    """Until the test has made this file."""
    end = time.monotonic() + 20
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.01)


def register(app: Celery, queue: str) -> None:  # noqa: C901, PLR0915  # one flat list of tiny steps
    """Declare the steps, all on `queue`."""
    routes = {"try.*": {"queue": queue}}
    app.conf.task_routes = (routes, *(app.conf.task_routes or ()))
    steps = Steps(app, lambda _: POLICY)

    @steps.batch("try.batch")
    def batch(items: Sequence[str], connection: Connection[Any]) -> Sequence[Outcome]:
        """A list in one transaction; each item's effect is a row."""
        note(f"list {len(items)}")
        outcomes = [obey(item) for item in items]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO effect VALUES (%s)", [(item,) for item in items])
        return outcomes

    @steps.batch("try.taking_apart")
    def taking_apart(items: Sequence[dict[str, str]], _: Connection[Any]) -> Sequence[Outcome]:
        """Changes what it was given, and fails if there are several."""
        return obey_apart(items)

    @steps.batch("try.slow_statement")
    def slow_statement(items: Sequence[str], connection: Connection[Any]) -> Sequence[Outcome]:
        """Waits in PostgreSQL, once."""
        note(f"ran {items[0]}")
        if _first(f"slow-{items[0]}"):
            connection.execute("SELECT pg_sleep(60)")
        return [Done({}) for _ in items]

    @steps.io("try.call")
    def call(item: str) -> Outcome:
        """One call on a thread."""
        return obey(item)

    @steps.io("try.few", at_once=FEW)
    def few(item: str) -> Outcome:
        """A call of which there may be only a few at once."""
        return obey(item)

    @steps.io("try.coroutine")
    async def coroutine(item: str) -> Outcome:
        """One call on the loop."""
        if item.startswith("busy"):
            note(f"ran {item}")
            await asyncio.sleep(60 if _first(f"coroutine-{item}") else 0)
            return Done({"item": item})
        return obey(item)

    @steps.io_list("try.calls")
    def calls(items: Sequence[str]) -> Sequence[Outcome]:
        """One call on a thread for a list."""
        note(f"called together {len(items)}")
        # An item that asks for it leaves the list one outcome short.
        return [obey(item) for item in items if not item.startswith("forget")]

    @steps.io_list("try.coroutines")
    async def coroutines(items: Sequence[str]) -> Sequence[Outcome]:
        """One call on the loop for a list."""
        note(f"called together {len(items)}")
        return [obey(item) for item in items]

    @steps.io("try.call_taking_apart")
    def call_taking_apart(item: dict[str, str]) -> Outcome:
        """One call that changes what it was given."""
        return obey_apart([item])[0]

    @steps.io_list("try.calls_taking_apart")
    def calls_taking_apart(items: Sequence[dict[str, str]]) -> Sequence[Outcome]:
        """One call for a list that changes what it was given, and fails if there are several."""
        return obey_apart(items)

    @app.task(name="try.plain", shared=False)
    def plain(item: str) -> str:
        """A task as a programmer writes it."""
        obey(item)
        return item

    @app.task(name="try.large", shared=False)
    def large(size: int) -> str:
        """A result of that size."""
        note(f"ran large {size}")
        return "x" * size


def configured() -> DoorbellApp:
    """The product's app from this process's environment, with the steps above."""
    current = settings.load()
    pool, process = sys.argv[1], _number()
    app = make_app(current, load())
    app.conf.broker_heartbeat = int(os.environ.get("HEARTBEAT", app.conf.broker_heartbeat))
    register(app, pool)
    note_signals()
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app.runner = RunnerConfig(
        pool=pool,
        style=load().pool(pool).style,
        host="test",
        grace_seconds=15,
        ledger=app.ledger,
        transaction=lambda connection: connection,
        process=process,
    )
    return app


def note_signals() -> None:
    """Leave a line for each of Celery's signals about a step."""
    for name in _SIGNALS:
        getattr(signals, name).connect(partial(_note_signal, name), weak=False)


def _note_signal(name: str, sender: Any = None, **about: Any) -> None:
    request = about.get("request")
    step_id = about.get("task_id") or getattr(request, "id", None) or sender.request.id
    note(f"signal {name} {step_id}")


def _number() -> int:
    return int(sys.argv[2]) if len(sys.argv) > 2 else 1


def main() -> int:
    """Run worker processes one after another until told to stop; returns the last one's status."""
    stopping: list[int] = []
    while True:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            note(f"start {os.getpid()}")
            options = worker_options(load(), sys.argv[1], _number())
            for name in ("soft_time_limit", "time_limit"):
                options[name] = float(os.environ.get(name.upper(), options[name]))
            return configured().work(options)

        def stop(_number: int, _frame: object, pid: int = child) -> None:
            stopping.append(pid)
            os.kill(pid, signal.SIGTERM)

        signal.signal(signal.SIGTERM, stop)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        note(f"end {status}")
        if stopping:
            return status


if __name__ == "__main__":
    sys.exit(main())
