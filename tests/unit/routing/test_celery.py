"""What Celery makes of the settings; nothing here connects."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import QueueNotFound
from celery.utils.quorum_queues import detect_quorum_queues

from routing.celery import celery_settings, retry_policy
from routing.load import load
from services.domain.errors import ConfigurationError
from services.domain.retry import RetryPolicy

TOPOLOGY = load()


@pytest.fixture
def app() -> Celery:
    """An app that knows the topology and has no broker."""
    app = Celery("unit", broker="pyamqp://no-such-user@127.0.0.1:9//", set_as_current=False)
    app.conf.update(celery_settings(TOPOLOGY))
    return app


@pytest.mark.parametrize("task", [name for name in TOPOLOGY.tasks if "*" not in name])
def test_a_task_is_routed_to_its_queue(app: Celery, task: str) -> None:
    """Celery's router finds the queue, on the work exchange, with the queue's name as key."""
    queue = app.amqp.router.route({}, task)["queue"]
    assert queue.name == queue.routing_key == TOPOLOGY.tasks[task].queue
    assert (queue.exchange.name, queue.exchange.type) == (TOPOLOGY.work_exchange, "topic")


def test_celerys_own_tasks_go_to_the_default_queue(app: Celery) -> None:
    """What Celery starts by itself is consumed by somebody."""
    assert app.amqp.router.route({}, "celery.backend_cleanup")["queue"].name == "maintenance"
    assert app.conf.task_default_queue == "maintenance"


def test_whatever_way_a_task_is_sent_it_goes_to_its_queue(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By class, by name, mapped, or mapped inside a group: the task decides, not Celery's wrapping."""

    @app.task(shared=False, name="db_writes.save_event")
    def task(value: int) -> int:
        return value

    sent: list[str] = []
    monkeypatch.setattr(
        app.amqp, "send_task_message", lambda *_, queue, **__: sent.append(queue.name)
    )
    task.delay(1)
    app.send_task("db_writes.save_event", args=[1])
    app.signature("db_writes.save_event", args=[1]).apply_async()
    task.map([1]).apply_async()
    task.starmap([(1,)]).apply_async()
    task.chunks([(1,), (2,)], 1).apply_async()
    assert sent == ["db_writes"] * 7


def test_an_unknown_task_is_refused_unless_its_queue_is_given(app: Celery) -> None:
    """Without a route no message is made; with a queue of the topology the sender has decided."""
    with pytest.raises(ConfigurationError, match=r"task by\.hand has no route"):
        app.amqp.router.route({}, "by.hand")
    assert app.amqp.router.route({"queue": "db_writes"}, "by.hand")["queue"].name == "db_writes"
    with pytest.raises(QueueNotFound):
        app.amqp.router.route({"queue": "nowhere"}, "by.hand")


def test_celery_sees_quorum_queues_and_declares_nothing(app: Celery) -> None:
    """So it delays natively and prefetches per consumer; declaring is the definitions' affair."""
    assert detect_quorum_queues(app, "amqp")[0]
    queues: dict[str, Any] = app.amqp.queues
    for queue in queues.values():
        assert queue.durable
        assert queue.no_declare
        assert queue.exchange.no_declare
    assert list(queues) == list(TOPOLOGY.queues)


def test_a_retry_policy_is_the_one_its_route_names() -> None:
    """The numbers of the file reach the decision on a retry."""
    assert retry_policy(TOPOLOGY, "external_api.score_login") == RetryPolicy(3, 1, 8)
    assert retry_policy(TOPOLOGY, "celery.starmap") == retry_policy(TOPOLOGY, "maintenance.relay")
    with pytest.raises(ConfigurationError):
        retry_policy(TOPOLOGY, "nobody.knows")
