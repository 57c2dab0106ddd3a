"""One list on the executor itself: the order of commit, publish and ack, and what counts as a start."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from services.domain.errors import Refused
from services.domain.outcome import Done, Failed, Outcome
from services.ledger.database import Ledger
from services.runner.delivery import Delivery
from services.runner.executor import Executor, Finished
from services.runner.failpoints import Failpoints
from services.runner.task import Steps
from tests.integration.runner.conftest import VHOST, Bench
from tests.integration.runner.worker_of_tests import POLICY
from tests.support.faults.commits import CommitCutter


def delivery_of(bench: Bench, task: str, redelivered: bool, **embedded: Any) -> Delivery:
    step_id = str(uuid4())
    request = {
        "id": step_id,
        "task": task,
        "root_id": step_id,
        "lang": "py",
        "retries": 0,
        "delivery_info": {"redelivered": redelivered, "routing_key": bench.pool},
    }
    body = json.dumps([["w"], {}, embedded])
    nothing: Any = None
    return Delivery(step_id, task, request, body, "application/json", "utf-8", nothing, None, None)


def executor_of(
    bench: Bench, finish: Callable[[Finished], None], stop: threading.Event
) -> Executor:
    return Executor(bench.app, bench.app.ledger, lambda c: c, "test", Failpoints(), finish, stop)


def step(bench: Bench, handler: Callable[[psycopg.Connection[Any]], Outcome]) -> str:
    """Register a batch step of that handler; returns its name."""
    name = f"try.{uuid4().hex}"

    @Steps(bench.app, lambda _: POLICY).batch(name)
    def many(values: Sequence[Any], connection: psycopg.Connection[Any]) -> Sequence[Outcome]:
        """Does what the test wants."""
        return [handler(connection) for _ in values]

    return name


@pytest.mark.parametrize(
    "lost",
    [psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected],
)
def test_lost_races_are_no_starts(batch: Bench, lost: type[psycopg.Error]) -> None:
    """A redelivered step that loses more races than a poison may start is done all the same."""
    left = [lost("lost") for _ in range(8)]

    def handler(_: psycopg.Connection[Any]) -> Outcome:
        if left:
            raise left.pop()
        return Done({})

    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, threading.Event())
    delivery = delivery_of(batch, step(batch, handler), redelivered=True)
    executor.run([delivery])
    executor.close()

    assert [each.outcome for each in finished] == ["done"]
    rows = batch.rows("SELECT state, redeliveries FROM step WHERE id = %s", delivery.id)
    assert rows == [("done", 1)]


def test_an_ack_comes_after_the_commit_and_the_publish(batch: Bench) -> None:
    """When a delivery is handed back, its result can be read and its successor is in its queue."""
    successor = batch.app.signature("try.plain", args=("ok",), queue="maintenance", immutable=True)
    successor.set(task_id=str(uuid4()))
    seen: list[tuple[Any, int]] = []

    def look(finished: Finished) -> None:
        rows = batch.rows("SELECT state FROM step WHERE id = %s", finished.delivery.id)
        published = batch.rows(
            "SELECT published_at IS NOT NULL FROM step WHERE id = %s", successor.id
        )
        seen.append(((rows, published), batch.node.peek("maintenance", VHOST)[0]))

    executor = executor_of(batch, look, threading.Event())
    name = step(batch, lambda _: Done({}))
    executor.run([delivery_of(batch, name, redelivered=False, chain=[dict(successor)])])
    executor.close()
    batch.take("maintenance")

    assert seen == [(([("done",)], [(True,)]), 1)]


def test_a_stopping_process_hands_nothing_back(batch: Bench) -> None:
    """What has not begun is left unacked: it belongs to the next process."""
    stop = threading.Event()
    stop.set()
    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, stop)
    delivery = delivery_of(batch, step(batch, lambda _: Done({})), redelivered=False)
    executor.run([delivery])

    assert not finished
    assert not executor.admit(delivery)
    assert batch.rows("SELECT 1 FROM step WHERE id = %s", delivery.id) == []


def test_a_failure_whose_commit_was_not_answered_is_dead_lettered(batch: Bench) -> None:
    """The step is found failed when it is tried again, by the very delivery that failed it."""
    finished: list[Finished] = []
    server = urlsplit(batch.database_url)
    with CommitCutter(server.port or 5432) as cutter:
        place = server.netloc.replace(f":{server.port}", f":{cutter.port}")
        ledger = Ledger(batch.app, server._replace(netloc=place).geturl())
        executor = Executor(
            batch.app, ledger, lambda c: c, "test", Failpoints(), finished.append, threading.Event()
        )
        outcomes: list[Outcome] = [Done({}), Failed(Refused("no"))]
        name = step(batch, lambda _: outcomes.pop(0))
        deliveries = [delivery_of(batch, name, redelivered=False) for _ in range(2)]
        # The second commit is the failure's.
        cutter.cut_commits(every=2, sides=("after",))
        for delivery in deliveries:
            executor.run([delivery])
        assert cutter.cuts == {"after": 1}
        executor.close()

    assert [each.answer[0] for each in finished] == [0, 1]
    rows = batch.rows("SELECT state, attempts FROM step WHERE id = %s", deliveries[1].id)
    assert rows == [("failed", 1)]
