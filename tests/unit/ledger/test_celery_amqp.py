"""Celery's publishing edge inside a step: collected, under the messaging rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import Retry

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.domain.errors import MessageTooLarge, Refused
from services.ledger.celery_amqp import CollectingProducer
from services.ledger.unit import Unit
from services.settings import Settings


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


def collected(app: DoorbellApp, **options: Any) -> Unit:
    unit = Unit("sender")
    with unit.active():
        app.send_task("db_writes.save_event", ["w"], **options)
    return unit


def test_nothing_is_sent_inside_a_unit(app: DoorbellApp) -> None:
    """The message waits in the unit, complete and addressed."""
    (message,) = collected(app, task_id="a").messages

    assert message.step_id == message.headers["id"] == "a"
    assert (message.exchange, message.routing_key) == ("doorbell", "db_writes")
    assert message.properties["correlation_id"] == "a"
    assert message.body.startswith('[["w"], {}, ')


@pytest.mark.parametrize(("asked", "delay"), [(0.2, 1), (0.999, 1), (1, 1), (1.9, 2), (-3, 0)])
@pytest.mark.parametrize("way", ["countdown", "eta", "eta as text"])
def test_delays_are_whole_seconds_and_the_brokers_alone(
    app: DoorbellApp, way: str, asked: float, delay: int
) -> None:
    """Rounded up, and without an eta by which a worker would wait once more, by a clock of its own."""
    due = datetime.now(UTC) + timedelta(seconds=asked)
    options: dict[str, Any] = {
        "countdown": {"countdown": asked},
        "eta": {"eta": due},
        "eta as text": {"eta": due.isoformat()},
    }[way]
    (message,) = collected(app, **options).messages
    assert (message.delay_seconds, message.headers["eta"]) == (delay, None)


def test_a_countdown_is_a_native_delay(app: DoorbellApp) -> None:
    """It goes through the delay exchanges and names its seconds."""
    (message,) = collected(app, countdown=5).messages

    assert message.exchange == "celery_delayed_27"
    assert (message.queue, message.delay_seconds) == ("db_writes", 5)


@pytest.mark.parametrize("task", [name for name in load().tasks if "*" not in name])
@pytest.mark.parametrize("countdown", [None, 1])
@pytest.mark.parametrize("was_delayed", [False, True])
def test_a_retry_goes_back_to_the_queue_it_came_from(
    app: DoorbellApp, task: str, countdown: int | None, was_delayed: bool
) -> None:
    """Through Celery's own retry, which names the message's exchange and key and no queue."""
    queue = load().tasks[task].queue
    key = ".".join([*"0" * 27, "1", queue]) if was_delayed else queue
    exchange = "celery_delayed_27" if was_delayed else "doorbell"
    request = {"id": "a", "task": task, "args": ["w"], "kwargs": {}, "retries": 0}
    request["delivery_info"] = {"exchange": exchange, "routing_key": key, "priority": 0}
    unit = Unit("sender")
    tried: Any = app.Task()
    tried.name = task
    tried.bind(app)
    tried.push_request(**request, called_directly=False)
    with unit.active(), pytest.raises(Retry):
        tried.retry(countdown=countdown or 0, max_retries=3)
    (message,) = unit.messages

    assert (message.queue, message.delay_seconds) == (queue, countdown or 0)
    assert message.exchange == ("celery_delayed_27" if countdown else "doorbell")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        # In seconds or as a time: it would end the canvas without a word.
        ({"expires": 60}, "expires: a message that expires"),
        ({"expires": datetime.now(UTC) + timedelta(hours=1)}, "expires: a message that expires"),
        # Anything but JSON could not be read, replayed or shown.
        ({"serializer": "pickle"}, "serializer 'pickle': messages are JSON only"),
        ({"serializer": "yaml"}, "serializer 'yaml': messages are JSON only"),
    ],
)
def test_what_is_refused(app: DoorbellApp, options: dict[str, Any], reason: str) -> None:
    """The step that sends it fails; nothing is collected."""
    unit = Unit()
    with unit.active(), pytest.raises(Refused, match=reason):
        app.send_task("db_writes.save_event", ["w"], **options)
    assert unit.messages == []


def test_a_large_message_is_refused(app: DoorbellApp) -> None:
    """As outside a step."""
    with pytest.raises(MessageTooLarge), Unit().active():
        app.send_task("db_writes.save_event", ["x" * 70_000])


def test_a_message_that_is_not_json_is_refused() -> None:
    """Celery's encoder says so; nothing is collected."""
    unit = Unit()
    headers = {"id": "a", "task": "b"}
    with pytest.raises(Exception, match="not JSON serializable"):
        CollectingProducer(unit).publish(
            [[object()], {}, {}], exchange="x", routing_key="y", headers=headers
        )
    assert unit.messages == []


def test_nobody_is_revoked_while_a_join_settles(app: DoorbellApp) -> None:
    """Celery revokes a failed chord's members; ours are blocked, to be replayed."""
    unit = Unit(is_settling=True)
    with unit.active():
        assert app.control.revoke("a") is None
