"""One list on the executor itself: the order of commit, publish and ack, and what counts as a start."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from celery import chain, chord, group
from prometheus_client import REGISTRY

from services.domain.errors import Refused
from services.domain.outcome import Done, Failed, Outcome
from services.ledger.database import Ledger
from services.observability.metrics import StepMetrics
from services.runner.delivery import Delivery
from services.runner.executor import Executor, Finished
from services.runner.failpoints import Failpoints
from services.runner.task import Steps, StepTask
from tests.integration.runner.conftest import VHOST, Bench
from tests.integration.runner.worker_of_tests import POLICY
from tests.support.faults.commits import CommitCutter, Side
from tests.support.fleet import wait_until


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
    bench: Bench,
    finish: Callable[[Finished], None],
    stop: threading.Event,
    ledger: Ledger | None = None,
) -> Executor:
    metrics = StepMetrics("test", bench.app.tasks)
    ledger = ledger or bench.app.ledger
    return Executor(bench.app, ledger, lambda c: c, "test", Failpoints(), finish, stop, metrics)


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


def test_only_what_has_committed_is_measured(batch: Bench) -> None:
    """Tries that were rolled back are no transactions, and a late copy of a step has not waited."""
    left = [psycopg.errors.SerializationFailure("lost") for _ in range(3)]

    def handler(_: psycopg.Connection[Any]) -> Outcome:
        if left:
            raise left.pop()
        return Done({})

    def measured() -> list[float]:
        """Transactions, and waits of any task."""
        samples = [each for family in REGISTRY.collect() for each in family.samples]
        names = ("doorbell_transaction_seconds_count", "doorbell_step_wait_seconds_count")
        return [
            sum(
                each.value
                for each in samples
                if each.name == name and each.labels["pool"] == "test"
            )
            for name in names
        ]

    executor = executor_of(batch, lambda _: None, threading.Event())
    delivery = delivery_of(batch, step(batch, handler), redelivered=False)
    before = measured()
    executor.run([delivery])
    once = measured()
    executor.run([replace(delivery, is_wait_told=False)])
    executor.close()
    twice = measured()
    assert [after - others for after, others in zip(once, before, strict=True)] == [1, 1]
    assert [after - others for after, others in zip(twice, once, strict=True)] == [1, 0]


def test_an_ack_comes_after_the_commit_and_the_publish(batch: Bench) -> None:
    """When a delivery is handed back, its result can be read and its successor is in its queue."""
    successor = batch.app.signature("try.plain", args=("ok",), queue="maintenance", immutable=True)
    successor.set(task_id=str(uuid4()))
    seen: list[tuple[Any, int]] = []

    def look(finished: Finished) -> None:
        rows = batch.rows("SELECT state FROM step WHERE id = %s", finished.delivery.id)
        seen.append((rows, batch.node.peek("maintenance", VHOST)[0]))

    executor = executor_of(batch, look, threading.Event())
    name = step(batch, lambda _: Done({}))
    executor.run([delivery_of(batch, name, redelivered=False, chain=[dict(successor)])])
    executor.close()
    batch.take("maintenance")

    assert seen == [([("done",)], 1)]
    published = "SELECT published_at IS NOT NULL FROM step WHERE id = %s"
    assert batch.rows(published, successor.id) == [(True,)]


def test_a_stopping_process_hands_nothing_back(batch: Bench) -> None:
    """What has not begun is left unacked: it belongs to the next process."""
    stop = threading.Event()
    stop.set()
    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, stop)
    delivery = delivery_of(batch, step(batch, lambda _: Done({})), redelivered=False)
    executor.run([delivery])

    assert not finished
    assert executor.admit([delivery]) == [False]
    assert batch.rows("SELECT 1 FROM step WHERE id = %s", delivery.id) == []


@contextmanager
def _cut_off(
    bench: Bench, finish: Callable[[Finished], None]
) -> Iterator[tuple[Executor, CommitCutter]]:
    """An executor whose commits lose their connection when the test wants it."""
    server = urlsplit(bench.database_url)
    with CommitCutter(server.port or 5432) as cutter:
        place = server.netloc.replace(f":{server.port}", f":{cutter.port}")
        ledger = Ledger(bench.app, server._replace(netloc=place).geturl())
        yield executor_of(bench, finish, threading.Event(), ledger), cutter


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_lost_commit_of_a_reservation_holds_up_nothing(batch: Bench, side: Side) -> None:
    """Whether it was made for the first time or renewed: whose it is, is known whatever became of the commit."""
    with _cut_off(batch, lambda _: None) as (executor, cutter):
        name = step(batch, lambda _: Done({}))
        first, second = (delivery_of(batch, name, redelivered=False) for _ in range(2))
        cutter.cut_commits(every=2, sides=(side,))
        admitted = [executor.admit([each]) for each in (first, second, first)]
        executor.close()

    assert cutter.cuts == {side: 2}
    assert admitted == [[True]] * 3


def test_a_failure_whose_commit_was_not_answered_is_dead_lettered(batch: Bench) -> None:
    """The step is found failed when it is tried again, by the very delivery that failed it."""
    finished: list[Finished] = []
    with _cut_off(batch, finished.append) as (executor, cutter):
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


def test_a_database_that_is_read_only_fails_nothing(
    batch: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby before its promotion: deliveries are held until it can be written."""
    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, threading.Event())
    deliveries = [delivery_of(batch, step(batch, lambda _: Done({})), False) for _ in range(3)]
    name = urlsplit(batch.database_url).path.removeprefix("/")
    run = threading.Thread(target=executor.run, args=(deliveries,))
    batch.rows(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        run.start()
        wait_until(lambda: "PostgreSQL is away" in caplog.text, 10, "it was not read-only")
        assert not finished
    finally:
        writable = "SET default_transaction_read_only = off"
        with psycopg.connect(batch.database_url, autocommit=True) as connection:
            connection.execute(writable.encode())
            connection.execute(
                f"ALTER DATABASE {name} RESET default_transaction_read_only".encode()
            )
    run.join(20)
    executor.close()

    assert [each.outcome for each in finished] == ["done"] * 3


def test_a_process_that_stood_still_in_its_transaction_fails_nothing(batch: Bench) -> None:
    """PostgreSQL has ended its session meanwhile; the step runs again."""
    calls: list[int] = []

    def handler(connection: psycopg.Connection[Any]) -> Outcome:
        pid = connection.info.backend_pid
        calls.append(pid)
        if len(calls) == 1:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
            wait_until(lambda: not batch.rows(alive, pid), 10, "the session lives")
        return Done({})

    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, threading.Event())
    executor.run([delivery_of(batch, step(batch, handler), redelivered=False)])
    executor.close()

    assert len(calls) == 2
    assert [each.outcome for each in finished] == ["done"]


@pytest.mark.parametrize("kind", ["task", "chain", "group", "chord"])
def test_a_replaced_step_whose_message_comes_again_is_not_run_again(
    batch: Bench, kind: str
) -> None:
    """Task.replace was committed before the ack that got lost: what replaces it runs once."""
    calls: list[str] = []
    leaf = batch.app.signature("try.plain", args=("ok",), queue="maintenance", immutable=True)
    canvases: dict[str, Any] = {
        "task": leaf.clone(),
        "chain": chain(leaf.clone(), leaf.clone(), app=batch.app),
        "group": group(leaf.clone(), leaf.clone(), app=batch.app),
        "chord": chord([leaf.clone(), leaf.clone()], leaf.clone(), app=batch.app),
    }

    @batch.app.task(bind=True, name=f"try.{uuid4().hex}", base=StepTask)
    def replaced(self: Any, _: str) -> None:
        calls.append(kind)
        raise self.replace(canvases[kind])

    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, threading.Event())
    delivery = delivery_of(batch, replaced.name, redelivered=False)
    executor.run([delivery])
    sent = batch.rows("SELECT id FROM step WHERE sent_by = %s ORDER BY id", delivery.id)
    again = delivery_of(batch, replaced.name, redelivered=True)
    again.id = again.request["id"] = delivery.id
    executor.run([again])
    executor.close()
    batch.take("maintenance")

    assert calls == [kind]
    assert sent
    assert batch.rows("SELECT id FROM step WHERE sent_by = %s ORDER BY id", delivery.id) == sent
    assert len(finished) == 2


def test_a_revoke_does_not_wait_for_a_step_that_runs(batch: Bench) -> None:
    """Workers note it on the loop that sends their heartbeats."""
    delivery = delivery_of(batch, step(batch, lambda _: Done({})), redelivered=False)
    insert = "INSERT INTO step (id, task, queue, state) VALUES (%s, %s, %s, 'ready')"
    batch.rows(insert, delivery.id, delivery.task, batch.pool)
    with psycopg.connect(batch.database_url) as holder:
        holder.execute("SELECT FROM step WHERE id = %s FOR UPDATE", [delivery.id])
        with pytest.raises((psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)):
            batch.app.backend.mark_as_revoked(delivery.id, "not wanted")


def test_who_has_waited_for_rows_waits_shortly_from_then_on(batch: Bench) -> None:
    """A lost host holds its rows for seconds: one long wait for a list, not one for each of its steps."""
    waits: list[str] = []

    def handler(connection: psycopg.Connection[Any]) -> Outcome:
        [row] = connection.execute("SHOW lock_timeout").fetchall()
        waits.append(row[0])
        return Done({})

    finished: list[Finished] = []
    executor = executor_of(batch, finished.append, threading.Event())
    held, *free = [delivery_of(batch, step(batch, handler), False) for _ in range(3)]
    insert = "INSERT INTO step (id, task, queue, state) VALUES (%s, %s, %s, 'ready')"
    batch.rows(insert, held.id, held.task, batch.pool)
    with psycopg.connect(batch.database_url) as holder:
        holder.execute("SELECT FROM step WHERE id = %s FOR UPDATE", [held.id])
        assert executor.run([held, *free]) == [held]
        assert {each.delivery.id for each in finished} == {each.id for each in free}
        assert waits == ["100ms", "100ms"]
    assert executor.run([held]) == []
    assert waits == ["100ms"] * 3
    executor.run([delivery_of(batch, step(batch, handler), False)])
    executor.close()
    assert waits[3:] == ["1s"]


def test_limits_hold_also_where_a_permit_was_asked_for(batch: Bench) -> None:
    """Asking rolls the transaction back, and what it had set for the session."""
    seen: list[Any] = []

    def handler(connection: psycopg.Connection[Any]) -> Outcome:
        seen.append(connection.execute("SHOW lock_timeout").fetchone())
        return Done({})

    name = step(batch, handler)
    limit = "INSERT INTO rate_limit (task, per_second, burst, permits, set_by) VALUES (%s, 1, 1, 1, 'test')"
    batch.rows(limit, name)
    executor = executor_of(batch, lambda _: None, threading.Event())
    executor.run([delivery_of(batch, name, redelivered=False)])
    executor.close()
    assert seen == [("1s",)]
