"""What Celery must be told of the topology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu import Exchange, Queue

from routing.arguments import work_queue_arguments
from routing.topology import Topology
from services.domain.retry import RetryPolicy

_MAPS = ("celery.map", "celery.starmap")


def celery_settings(topology: Topology) -> dict[str, Any]:
    """Return the settings of a Celery app that follow from the topology.

    Queues are not declared by Celery (the broker's definitions are there before anything starts); their
    arguments stand here because Celery chooses per-consumer prefetch and native delays by them.
    """
    exchange = Exchange(topology.work_exchange, type="topic", durable=True, no_declare=True)
    queues = tuple(
        Queue(
            queue.name,
            exchange,
            routing_key=queue.name,
            durable=True,
            queue_arguments=work_queue_arguments(topology, queue),
            no_declare=True,
        )
        for queue in topology.queues.values()
    )
    return {
        "task_queues": queues,
        "task_routes": (_Router(topology),),
        "task_create_missing_queues": False,
        "task_default_queue": topology.default_queue,
        "task_default_exchange": topology.work_exchange,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": topology.default_queue,
        "task_default_queue_type": "quorum",
        "broker_native_delayed_delivery_queue_type": "quorum",
        "worker_detect_quorum_queues": True,
    }


def retry_policy(topology: Topology, task: str) -> RetryPolicy:
    """Return how a task is tried again.

    Raises:
        ConfigurationError: the task has no route.
    """
    retry = topology.retries[topology.route(task).retry]
    return RetryPolicy(retry.limit, retry.base_seconds, retry.cap_seconds)


class _Router:
    """Celery's router: a task without a route is an error of its publisher, not a message that nobody reads."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def __call__(
        self,
        name: str,
        args: object,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        task: object = None,
        **_: object,
    ) -> dict[str, str] | None:
        # Celery passes the options that were not given too, as None.
        if options.get("queue") or options.get("routing_key"):
            return None
        return {"queue": self._topology.route(_task_that_runs(name, kwargs)).queue}

    def __repr__(self) -> str:
        return f"<routes of {self._topology.source}>"


def _task_that_runs(name: str, kwargs: Mapping[str, Any] | None) -> str:
    """A map or starmap goes where its task goes; inside a group Celery does not see to it itself."""
    if name not in _MAPS or not kwargs:
        return name
    inner = kwargs.get("task")
    return str(inner["task"]) if isinstance(inner, Mapping) else name
