"""The reconciler with real workers: what the broker lost is done all the same; a backlog is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.ledger.message import Message
from services.ledger.reconciler import Reconciler, Repaired
from services.ledger.relay import relay_once
from services.settings import Settings
from tests.integration.messaging.bench import SECONDS, VHOST, Bench
from tests.support.fleet import wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

BACKLOG = 100_000
LIST = 5_000
QUEUE = "device_checks"
"""No worker of this folder consumes it."""


def test_a_planned_workflow_whose_message_vanished_is_done(bench: Bench) -> None:
    """Purged before its worker came; the worker does the probe, then the step and the rest of its chain."""
    bench.fleet.stop(bench.pool)
    bench.wait_for_consumers(0)
    items = [f"lost-{uuid4().hex[:8]}" for _ in range(2)]
    workflow = bench.insert(bench.sign("hand.say", items[0]) | bench.sign("hand.say", items[1]))
    bench.node.manage("DELETE", f"queues/{VHOST}/{bench.pool}/contents")
    bench.start()
    ledger = bench.script.ledger
    reconciler = Reconciler(bench.script, ledger, {bench.pool: 0.0})

    def is_found() -> bool:
        reconciler.sweep(probe_after_seconds=0.0)
        found = "SELECT max(republished) FROM step WHERE workflow_id = %s"
        return bool(bench.rows(found, workflow)[0][0])

    wait_until(is_found, SECONDS, "nothing was found to be lost")

    def is_done() -> bool:
        relay_once(ledger)
        return bench.workflow_state(workflow) == "done"

    wait_until(is_done, SECONDS)
    assert [len(bench.times(item)) for item in items] == [1, 1]


@pytest.fixture
def sender(node: PrivateRabbitMQ, postgres: PrivatePostgres) -> Iterator[DoorbellApp]:
    """An app with a fresh ledger, whose queue nobody consumes and is empty before and after."""
    broker_url = node.broker_url(ADMINISTRATOR, node.password, VHOST)
    with postgres.database() as url:
        app = make_app(Settings(broker_url=broker_url, database_url=url), load())
        yield app
        app.ledger.publisher().close()
        app.ledger.close()
        app.close()
        node.manage("DELETE", f"queues/{VHOST}/{QUEUE}/contents")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_waiting_logins_are_no_loss(
    sender: DoorbellApp, node: PrivateRabbitMQ
) -> None:
    """Confirmed a day ago, older than any deadline, and each in its queue: a sweep republishes none, and is quick."""
    messages = [_message(str(uuid4())) for _ in range(BACKLOG)]
    with sender.ledger.connection() as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        with connection.cursor().copy(_WORKFLOWS) as copy:
            for message in messages:
                copy.write_row((message.step_id, "shop", "login"))
        with connection.cursor().copy(_STEPS) as copy:
            for message in messages:
                copy.write_row(
                    (
                        message.step_id,
                        message.step_id,
                        message.task,
                        QUEUE,
                        "ready",
                        message.to_json(),
                    )
                )
        connection.execute(
            "UPDATE step SET ready_at = now() - interval '1 day',"
            " published_at = now() - interval '1 day', due_at = now() - interval '1 day'"
        )
        connection.execute("UPDATE workflow SET accepted_at = now() - interval '1 day'")
    for start in range(0, BACKLOG, LIST):
        assert len(sender.ledger.publisher().publish(messages[start : start + LIST])) == LIST
    assert node.peek(QUEUE, VHOST)[0] == BACKLOG

    reconciler = Reconciler(sender, sender.ledger, {QUEUE: 60.0})
    began = monotonic()
    found = [reconciler.sweep() for _ in range(10)]
    took = monotonic() - began

    assert found == [Repaired(probes=1)] + [Repaired()] * 9
    assert relay_once(sender.ledger) == 0
    assert node.peek(QUEUE, VHOST)[0] == BACKLOG + 1
    assert took / 10 < 2.0


_WORKFLOWS = b"COPY workflow (id, tenant_id, name) FROM STDIN"
_STEPS = b"COPY step (id, workflow_id, task, queue, state, message) FROM STDIN"


def _message(step_id: str) -> Message:
    task = "device_checks.check_device"
    headers: dict[str, Any] = {"id": step_id, "task": task, "root_id": step_id, "retries": 0}
    return Message(step_id, task, "doorbell", QUEUE, headers, {}, json.dumps([[step_id], {}, {}]))
