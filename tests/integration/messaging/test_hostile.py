"""What somebody can do who has a pool's password and knows AMQP: the pool goes on, and keeps what it cannot use."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.cli.remote import Remote
from tests.integration.messaging.bench import SECONDS, VHOST, Bench
from tests.integration.messaging.conftest import POOLS, Benches
from tests.integration.messaging.poison import EMBED
from tests.support.fleet import wait_until
from tests.support.raw_message import BEYOND_ALL_YEARS, RawMessage, nested, table, text

CELERY_HEADERS = (
    *("lang", "task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "meth"),
    *("argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting"),
    *("stamped_headers", "stamps", "headers", "timelimit", "retries", "generation", "compression"),
)
ODD_VALUES = ({"a": 1}, [{"a": 1}], [[1]], 1.5, True, "\x1b[2J", b"\xff")

PREFETCHED = 256
"""More messages than any process of a pool takes at once."""


def publish(bench: Bench, message: Any, queue: str = "") -> None:
    with bench.app.connection_for_write() as connection:
        channel: Any = connection.channel()
        channel.basic_publish(message, "doorbell", queue or bench.pool)


def is_at_work(bench: Bench) -> bool:
    (step_id,) = bench.send("hand.say", f"after-{uuid4().hex[:8]}")
    return bench.ended([step_id], SECONDS) == ["done"]


@pytest.mark.parametrize(
    "value", [BEYOND_ALL_YEARS, nested(4000)], ids=["a time beyond all years", "tables too deep"]
)
def test_headers_that_no_client_can_decode(bench: Bench, value: bytes) -> None:
    """py-amqp raises out of the loop: the process would end, and the next one would get the message."""
    step_id = uuid4().hex
    headers = table(
        {b"id": text(step_id), b"task": text("hand.say"), b"lang": text("py"), b"odd": value}
    )
    starts = len(bench.lines("start"))
    publish(bench, RawMessage(json.dumps([["x"], {}, EMBED]), headers, step_id))

    def letters() -> list[Any]:
        return [m for m in bench.letters() if m.properties.get("message_id") == step_id]

    wait_until(letters, SECONDS, "the dead letter")
    assert is_at_work(bench)
    assert len(letters()) == 1
    assert len(bench.lines("start")) == starts


def test_steps_that_are_due_in_years(bench: Bench) -> None:
    """However many there are: the broker holds them, and they take nobody's place."""
    due = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    ids = [uuid4().hex for _ in range(PREFETCHED)]
    body = json.dumps([["x"], {}, EMBED])
    for step_id in ids:
        headers = {"id": step_id, "task": "hand.say", "root_id": step_id, "eta": due, "lang": "py"}
        bench.publish(body, headers, step_id)

    assert is_at_work(bench)
    wait_until(lambda: bench.node.peek(bench.pool, VHOST)[0] == 0, SECONDS)
    assert bench.rows("SELECT 1 FROM step WHERE id = ANY(%s)", ids) == []
    delayed = [q for q in bench.node.manage("GET", f"queues/{VHOST}") if "_delayed_" in q["name"]]
    for queue in delayed:
        bench.node.manage("DELETE", f"queues/{VHOST}/{queue['name']}/contents")


def test_a_step_that_is_due_in_two_seconds(bench: Bench) -> None:
    """Also one that a producer without the topology has sent runs when it is due."""
    step_id = uuid4().hex
    due = datetime.now(UTC) + timedelta(seconds=2)
    headers = {"id": step_id, "task": "hand.say", "root_id": step_id, "eta": due.isoformat()}
    bench.publish(json.dumps([[step_id], {}, EMBED]), {**headers, "lang": "py"}, step_id)

    assert bench.ended([step_id], SECONDS) == ["done"]
    [(started_at,)] = bench.rows("SELECT started_at FROM step WHERE id = %s", step_id)
    assert started_at >= due - timedelta(seconds=0.1)


@pytest.mark.parametrize("header", CELERY_HEADERS)
def test_headers_of_the_wrong_kind(bench: Bench, header: str) -> None:
    """Run or kept, no message is in hand afterwards: a drained process would never be empty."""
    ids = [uuid4().hex for _ in ODD_VALUES]
    body = json.dumps([["x"], {}, EMBED])
    before = len(bench.letters())
    for step_id, value in zip(ids, ODD_VALUES, strict=True):
        right = {"id": step_id, "task": "hand.say", "root_id": step_id, "lang": "py"}
        bench.publish(body, {**right, header: value}, step_id)

    def settled() -> int:
        done = bench.rows("SELECT 1 FROM step WHERE id = ANY(%s) AND state = 'done'", ids)
        return len(done) + len(bench.letters()) - before

    wait_until(lambda: settled() == len(ids), SECONDS, f"{len(ids)} messages")
    remote = Remote(bench.app)
    try:
        wait_until(
            lambda: [p.in_flight for p in remote.processes() if p.pool == bench.pool] == [0],
            SECONDS,
            "an empty process",
        )
    finally:
        remote.close()


def test_a_copy_in_another_pools_queue(benches: Benches) -> None:
    """RabbitMQ 3.10 lets a publisher name any queue in CC; the other pool does not run it."""
    batch, io = (benches[style] for style in POOLS)
    step_id = uuid4().hex
    headers = {"id": step_id, "task": "hand.say", "root_id": step_id, "CC": [io.pool], "lang": "py"}
    before = len(io.letters())
    batch.publish(json.dumps([[step_id], {}, EMBED]), headers, step_id)

    wait_until(lambda: len(io.letters()) > before, SECONDS, "the copy's dead letter")
    assert io.rows("SELECT 1 FROM step WHERE id = %s", step_id) == []
    assert is_at_work(io)


def test_a_queue_of_another_pool_is_not_taken_from(bench: Bench) -> None:
    """Told to by remote control, which observers of the broker may use: the broker would end the connection."""
    answers: Any = bench.app.control.add_consumer("maintenance", reply=True, timeout=5, limit=1)

    assert any("this pool's queues are" in str(answer) for answer in answers)
    assert is_at_work(bench)
