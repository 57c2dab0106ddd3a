"""A worker process as its operators see it: stopping, revoking, events, and refusing to start."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runner.conftest import SECONDS, VHOST, Bench
from tests.integration.runner.test_lists import names
from tests.integration.runner.worker_of_tests import FEW
from tests.support.fleet import ROOT, wait_until

_OTHER_BASE = """
from celery import Task, shared_task

class Own(Task):
    abstract = True

@shared_task(base=Own, name="celery.own")
def own():
    pass
"""


@pytest.mark.parametrize(("style", "task"), [("batch", "try.batch"), ("io", "try.call")])
def test_a_stop_finishes_and_acks_what_was_received(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """SIGTERM in the middle of a list: exit status 0, and nothing that is done comes again."""
    bench: Bench = request.getfixturevalue(style)
    working, items = names("linger", 2), names("ok", 20)
    ids = bench.send(task, *working, *items)
    wait_until(lambda: bench.ran(working[0]), SECONDS)

    assert bench.fleet.stop(bench.pool) == 0
    states = dict(bench.rows("SELECT id, state FROM step WHERE id = ANY(%s)", ids))
    done = {step_id for step_id in ids if states.get(step_id) == "done"}
    left = bench.take(bench.pool)
    assert {message.headers["id"] for message in left} == set(ids) - done
    assert ids[0] in done

    for message in left:
        bench.send(task, items[ids.index(message.headers["id"]) - 2], task_id=message.headers["id"])
    bench.start()
    assert bench.ended(ids) == ["done"] * 22
    assert [bench.ran(item) for item in [*working, *items]] == [1] * 22


def test_a_stopping_process_keeps_its_connection(batch: Bench) -> None:
    """Work that lasts longer than two heartbeats is acked all the same, and does not come again."""
    assert batch.fleet.stop(batch.pool) == 0
    batch.start(HEARTBEAT="2")
    (item,) = names("hold")
    ids = batch.send("try.batch", item)
    wait_until(lambda: batch.ran(item), SECONDS)

    assert batch.fleet.stop(batch.pool) == 0
    assert batch.ended(ids) == ["done"]
    assert batch.take(batch.pool) == []
    batch.start()


def test_a_revoked_step_is_not_started(batch: Bench) -> None:
    """An operator's revoke, sent before the message: it is answered, marked, and never run."""
    (item,), (step_id,) = names("ok"), names("revoked")
    batch.revoke(step_id)
    batch.send("try.batch", item, task_id=step_id)

    assert batch.ended([step_id]) == ["failed"]
    assert batch.rows("SELECT reason FROM step WHERE id = %s", step_id) == [("revoked",)]
    assert str(batch.app.AsyncResult(step_id).state) == "REVOKED"
    assert batch.ran(item) == 0
    wait_until(lambda: batch.node.peek(batch.pool, VHOST)[0] == 0, SECONDS)


@pytest.mark.parametrize(("style", "task"), [("batch", "try.batch"), ("io", "try.few")])
def test_a_revoked_step_that_waits_in_its_process_is_not_started(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """It was received long ago, and is behind a list, or calls, that take their time."""
    bench: Bench = request.getfixturevalue(style)
    gates, (item,) = names("gate", FEW if style == "io" else 1), names("ok")
    busy = bench.send(task, *gates)
    wait_until(lambda: all(bench.ran(gate) for gate in gates), SECONDS, "what it waits for")
    (step_id,) = bench.send(task, item)
    wait_until(lambda: bench.unacked() == len(gates) + 1, SECONDS, "the step")
    bench.revoke(step_id)
    for gate in gates:
        bench.open(gate)

    assert bench.ended([step_id, *busy]) == ["failed"] + ["done"] * len(gates)
    assert str(bench.app.AsyncResult(step_id).state) == "REVOKED"
    assert bench.ran(item) == 0
    bench.dead_letter(step_id)


@pytest.fixture
def events(batch: Bench) -> Iterator[list[dict[str, Any]]]:
    with events_of(batch) as heard:
        yield heard


@contextmanager
def events_of(bench: Bench) -> Iterator[list[dict[str, Any]]]:
    """What a monitor such as Flower hears."""
    heard: list[dict[str, Any]] = []
    with bench.app.connection_for_read() as connection:
        receiver = bench.app.events.Receiver(connection, handlers={"*": heard.append})
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, wakeup=False))
        thread.start()
        try:
            # The worker's heartbeat comes every other second.
            wait_until(lambda: heard, SECONDS, "no event at all")
            yield heard
        finally:
            receiver.should_stop = True
            thread.join(SECONDS)


def test_events_arrive(batch: Bench, events: list[dict[str, Any]]) -> None:
    """Each step is received, started, and succeeded, failed or retried, with its worker's name."""
    ids = batch.send("try.batch", *names("ok"), *names("refuse"), *names("unavailable once"))
    assert batch.ended(ids) == ["done", "failed", "done"]
    last = ("task-received", "task-started", "task-retried", "task-received", "task-started")

    def kinds(step_id: str) -> tuple[str, ...]:
        return tuple(event["type"] for event in events if event.get("uuid") == step_id)

    wait_until(lambda: kinds(ids[2])[-1:] == ("task-succeeded",), SECONDS, str(events))
    assert kinds(ids[0]) == ("task-received", "task-started", "task-succeeded")
    assert kinds(ids[1]) == ("task-received", "task-started", "task-rejected", "task-failed")
    assert kinds(ids[2]) == (*last, "task-succeeded")
    assert {e["hostname"].split("@")[0] for e in events if e.get("uuid") in ids} == {batch.pool}
    batch.dead_letter(ids[1])


@pytest.mark.parametrize(
    ("style", "task"),
    [
        *(("batch", "try.batch"), ("batch", "try.plain")),
        *(("io", "try.few"), ("io", "try.call"), ("io", "try.coroutine"), ("io", "try.calls")),
    ],
)
def test_events_tell_how_long_a_step_has_run(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """Not how long Celery's tracer took over the answer."""
    bench: Bench = request.getfixturevalue(style)
    with events_of(bench) as heard:
        (step_id,) = bench.send(task, *names("linger"))
        told = wait_until(
            lambda: [e for e in heard if (e.get("uuid"), e["type"]) == (step_id, "task-succeeded")],
            SECONDS,
            "task-succeeded",
        )

    assert 0.5 <= told[0]["runtime"] < 5


@pytest.mark.parametrize(("style", "task"), [("batch", "try.batch"), ("io", "try.few")])
def test_a_step_that_waits_in_its_process_is_not_said_to_be_started(
    request: pytest.FixtureRequest, style: str, task: str
) -> None:
    """Flower shows it as received, until what it waits for is over."""
    bench: Bench = request.getfixturevalue(style)
    gates, (item,) = names("gate", FEW if style == "io" else 1), names("ok")
    with events_of(bench) as heard:
        busy = bench.send(task, *gates)
        wait_until(lambda: all(bench.ran(gate) for gate in gates), SECONDS, "what it waits for")
        (step_id,) = bench.send(task, item)
        wait_until(lambda: bench.unacked() == len(gates) + 1, SECONDS, "the step")
        opened_at = time.time()
        for gate in gates:
            bench.open(gate)

        def moments(kind: str) -> dict[str, float]:
            return {e["uuid"]: e["timestamp"] for e in heard if e["type"] == f"task-{kind}"}

        wait_until(lambda: {step_id, *busy} <= {*moments("succeeded")}, SECONDS, str(heard))
        started, received = moments("started"), moments("received")

    assert all(started[each] < opened_at for each in busy)
    assert received[step_id] < opened_at < started[step_id]


def test_a_worker_refuses_to_start_with_one_sentence(batch: Bench, tmp_path: Path) -> None:
    """Exit status 2 and what to do; no stack trace, for whatever is wrong."""
    (tmp_path / "librabbitmq.py").touch()
    programmers = tmp_path / "programmers"
    programmers.mkdir()
    (programmers / "sitecustomize.py").write_text(_OTHER_BASE)
    good = batch.fleet.environment("db_writes")
    without_broker = {k: v for k, v in good.items() if k != "DOORBELL_BROKER_URL"}
    wrong = {
        "pip uninstall librabbitmq": (
            "db_writes",
            good | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        ),
        "DOORBELL_BROKER_URL (or DOORBELL_BROKER_URL_FILE) is not set": (
            "db_writes",
            without_broker,
        ),
        "no_such_pool": ("no_such_pool", good),
        "task celery.own: its base is to be derived from services.runner.task.StepTask": (
            "db_writes",
            good | {"PYTHONPATH": f"{ROOT}:{programmers}"},
        ),
    }
    started = {
        sentence: subprocess.Popen(
            [sys.executable, "-m", "services.worker", pool],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for sentence, (pool, environment) in wrong.items()
    }
    for sentence, process in started.items():
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 2, output
        assert sentence in output
        assert len(output.strip().splitlines()) == 1, output
