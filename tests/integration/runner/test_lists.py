"""A list of steps: one item's failure is that item's alone, whatever it does."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord

from services.ledger.labels import label_of
from tests.integration.runner.conftest import SECONDS, VHOST, Bench
from tests.support.fleet import wait_until


def names(word: str, count: int = 1) -> list[str]:
    """Items that no other test uses."""
    return [f"{word} {uuid4().hex[:8]}" for _ in range(count)]


def test_an_item_that_blows_up_fails_alone(batch: Bench) -> None:
    """The list's transaction is lost with it; its neighbours run again, each effect once."""
    good, (bad,) = names("ok", 6), names("raise")
    (gate,) = names("gate")
    batch.send("try.batch", gate)
    wait_until(lambda: batch.ran(gate) == 1, SECONDS, "the list that the others wait for")
    ids = batch.send("try.batch", *good[:3], bad, *good[3:])
    wait_until(lambda: batch.unacked() == 8, SECONDS, "the next list to arrive")
    batch.open(gate)

    assert batch.ended(ids) == ["done"] * 3 + ["dead"] + ["done"] * 3
    assert [batch.effects(item) for item in good] == [1] * 6
    assert batch.effects(bad) == 0
    assert "list 7" in batch.lines("list")
    assert batch.dead_letter(ids[3]).headers["task"] == "try.batch"


def test_a_list_that_blows_up_begins_again_with_what_was_sent(batch: Bench) -> None:
    """Whatever its handler has made of its values by then."""
    (gate,) = names("gate")
    batch.send("try.batch", gate)
    wait_until(lambda: batch.ran(gate) == 1, SECONDS, "the list that the others wait for")
    words = names("ok", 2)
    ids = batch.send("try.taking_apart", *[{"word": word} for word in words])
    wait_until(lambda: batch.unacked() == 3, SECONDS, "the next list to arrive")
    batch.open(gate)

    assert batch.ended(ids) == ["done", "done"]
    found = dict(batch.rows("SELECT id, result FROM step WHERE id = ANY(%s)", ids))
    assert [json.loads(found[each]) for each in ids] == [{"item": word} for word in words]


@pytest.mark.parametrize(
    ("style", "task"),
    [
        ("batch", "try.taking_apart"),
        ("io", "try.call_taking_apart"),
        ("io", "try.calls_taking_apart"),
    ],
)
@pytest.mark.parametrize("word", ["away once", "unavailable once"])
def test_what_is_tried_again_is_what_was_sent(
    request: pytest.FixtureRequest, style: str, task: str, word: str
) -> None:
    """Because PostgreSQL was away, or the handler says so: it has changed its value by then."""
    bench: Bench = request.getfixturevalue(style)
    (item,) = names(word)
    ids = bench.send(task, {"word": item})

    assert bench.ended(ids) == ["done"]
    assert bench.ran(item) == 2


def test_calls_that_blow_up_together_begin_again_with_what_was_sent(io: Bench) -> None:
    """One by one, as a list in a transaction does."""
    ids = io.send("try.calls_taking_apart", *[{"word": word} for word in names("ok", 12)])

    assert io.ended(ids) == ["done"] * 12


@pytest.mark.parametrize(
    ("word", "state", "error"),
    [
        ("strange", "dead", "not JSON serializable"),
        ("large", "failed", "pass ids instead of values"),
        ("nothing", "dead", "not NoneType"),
    ],
)
def test_an_item_whose_answer_cannot_be_used_leaves_no_effect(
    batch: Bench, word: str, state: str, error: str
) -> None:
    """What its handler has written is taken back with it, so that a replay does not write it twice."""
    good, (bad,) = names("ok", 2), names(word)
    follower = batch.app.signature("try.plain", queue="maintenance")
    (gate,) = names("gate")
    batch.send("try.batch", gate)
    wait_until(lambda: batch.ran(gate) == 1, SECONDS, "the list that the others wait for")
    ids = batch.send("try.batch", good[0], bad, good[1], link=follower)
    wait_until(lambda: batch.unacked() == 4, SECONDS, "the next list to arrive")
    batch.open(gate)

    assert batch.ended(ids) == ["done", state, "done"]
    assert error in str(batch.app.AsyncResult(ids[1]).result)
    assert [batch.effects(item) for item in (good[0], bad, good[1])] == [1, 0, 1]
    batch.dead_letter(ids[1])
    batch.take("maintenance")


def test_outcomes_are_each_items_own(batch: Bench) -> None:
    """Refused becomes failed at once, Unavailable is tried again until the limit and is dead."""
    items = [*names("ok"), *names("refuse"), *names("unavailable"), *names("unavailable once")]
    ids = batch.send("try.batch", *items)

    assert batch.ended(ids) == ["done", "failed", "dead", "done"]
    assert [batch.ran(item) for item in items] == [1, 1, 2, 2]
    assert batch.dead_letter(ids[1]).headers["id"] == ids[1]
    # In one line, by its own name.
    again = f"attempt retried: Retry: Retry in 1s: Unavailable('{items[3]}')\n"
    assert again in batch.fleet.log(batch.pool)


def test_a_step_whose_retries_ran_out_keeps_its_canvas(batch: Bench) -> None:
    """The dead letter is the whole message: the rest of the chain is in it."""
    (item,) = names("unavailable")
    follower = batch.app.signature("try.plain", args=("ok behind",), immutable=True)
    first = batch.app.signature("try.batch", args=(item,))
    result: Any = chain(first, follower, app=batch.app).apply_async()

    assert batch.ended([result.parent.id]) == ["dead"]
    letter = batch.dead_letter(result.parent.id)
    args, _, embedded = json.loads(letter.body)
    assert args == [item]
    assert [step["options"]["task_id"] for step in embedded["chain"]] == [result.id]
    assert letter.headers["retries"] == 1
    assert batch.ran("ok behind") == 0


def test_an_idle_worker_notes_what_the_broker_confirmed(batch: Bench) -> None:
    """No later list has to come for it; else the relay would publish everything once more."""
    follower = batch.app.signature("try.plain", args=("ok",), queue="maintenance", immutable=True)
    first = batch.app.signature("try.batch", args=(names("ok")[0],))
    result: Any = chain(first, follower, app=batch.app).apply_async()

    published = "SELECT published_at IS NOT NULL FROM step WHERE id = %s"
    wait_until(lambda: batch.rows(published, result.id) == [(True,)], SECONDS, "not noted")
    batch.take("maintenance")


@pytest.mark.parametrize("body", ["{not json", "{}", "[1]", '[["ok"], {}]'])
def test_a_body_that_is_none_of_celerys_is_dead_and_kills_nobody(batch: Bench, body: str) -> None:
    """A stranger's message goes to the dead letters; the process and the others go on."""
    (step_id, neighbour) = (str(uuid4()), names("ok"))
    starts = len(batch.lines("start"))
    with batch.app.producer_or_acquire() as producer:
        headers = {"id": step_id, "task": "try.batch", "lang": "py", "retries": 0}
        producer.publish(
            body,
            exchange="doorbell",
            routing_key=batch.pool,
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
        )
    ids = batch.send("try.batch", *neighbour)

    assert batch.ended(ids) == ["done"]
    assert batch.dead_letter(step_id).headers["id"] == step_id
    assert len(batch.lines("start")) == starts


def test_an_unknown_task_is_dead(batch: Bench) -> None:
    """A producer that is ahead of its consumers loses nothing."""
    step_id = str(uuid4())
    batch.app.send_task("try.not_yet", ["x"], task_id=step_id)

    assert batch.dead_letter(step_id).headers["task"] == "try.not_yet"


def test_a_body_too_large_to_be_sent_fails_without_a_death(batch: Bench) -> None:
    """A header whose results together exceed a message: the body says so, the leaves are done."""
    starts = len(batch.lines("start"))
    leaf = batch.app.signature
    result = chord(
        [leaf("try.large", args=(40_000,)), leaf("try.large", args=(40_001,))],
        leaf("try.plain"),
        app=batch.app,
    ).apply_async()

    with pytest.raises(Exception, match="pass ids instead of values"):
        result.get(timeout=SECONDS)
    assert batch.ran("large 40000") == batch.ran("large 40001") == 1
    assert len(batch.lines("start")) == starts


def test_a_delivery_of_a_done_step_is_answered(batch: Bench) -> None:
    """The same message again runs nothing and is acked."""
    (item,) = names("ok")
    (step_id,) = batch.send("try.batch", item)
    assert batch.ended([step_id]) == ["done"]
    batch.send("try.batch", item, task_id=step_id)

    (after,) = names("ok")
    assert batch.ended(batch.send("try.batch", after)) == ["done"]
    wait_until(lambda: batch.node.peek(batch.pool, VHOST)[0] == 0, SECONDS)
    assert batch.ran(item) == 1
    assert batch.effects(item) == 1


def test_a_delivery_that_its_retry_has_overtaken_is_answered(batch: Bench) -> None:
    """The row is ahead of the message: a stale copy is acked, and only the retry runs."""
    (item,) = names("unavailable once")
    (step_id,) = batch.send("try.batch", item)
    assert batch.ended([step_id]) == ["done"]
    # As if the retry were still on its way.
    batch.rows("UPDATE step SET state = 'retrying', retries = 1 WHERE id = %s", step_id)
    batch.send("try.batch", item, task_id=step_id)

    (after,) = names("ok")
    assert batch.ended(batch.send("try.batch", after)) == ["done"]
    assert batch.ran(item) == 2
    assert batch.rows("SELECT state FROM step WHERE id = %s", step_id) == [("retrying",)]


def test_a_delivery_of_a_step_that_is_planned_yet_is_answered(batch: Bench) -> None:
    """The ledger was put back to before what comes ahead of it was done: its own message is to come."""
    (item, after), step_id = names("ok", 2), str(uuid4())
    batch.rows(
        "INSERT INTO step (id, task, queue, state) VALUES (%s, 'try.batch', %s, 'planned')",
        step_id,
        batch.pool,
    )
    batch.send("try.batch", item, task_id=step_id)

    assert batch.ended(batch.send("try.batch", after)) == ["done"]
    assert batch.ran(item) == 0
    assert batch.rows("SELECT state FROM step WHERE id = %s", step_id) == [("planned",)]


def test_a_forgotten_step_is_kept_and_calls_nobody_back(batch: Bench) -> None:
    """A workflow's message without a row is a dead letter; its canvas hears of no failure."""
    (item, told), label = names("ok", 2), label_of(uuid4(), 16 * "0")
    errback = batch.app.signature("try.plain", args=(told,), immutable=True)
    (step_id,) = batch.send("try.batch", item, kwargsrepr=label, link_error=errback)

    assert batch.ended([step_id]) == ["dead"]
    assert batch.rows("SELECT reason FROM step WHERE id = %s", step_id) == [("forgotten",)]
    letter = batch.dead_letter(step_id)
    assert json.loads(letter.body)[2]["errbacks"]
    assert batch.rows("SELECT count(*) FROM step WHERE parent_id = %s", step_id) == [(0,)]
    assert batch.ran(item) == batch.ran(told) == 0
