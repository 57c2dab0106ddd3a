"""Moves steps of a task that is held back out of the worker's hands into the ledger."""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.exceptions import Ignore
from psycopg import Connection

from services.domain.outcome import Failed
from services.ledger import pauses
from services.ledger.message import Message
from services.runner.delivery import Delivery
from services.runner.giving_up import Unparkable
from services.runner.sorting import Sorted

_OF_CELERYS_REQUEST = {
    "args", "kwargs", "properties", "reply_to", "correlation_id", "hostname", "delivery_info",
}  # fmt: skip
"""What Celery's Request adds to a message's headers."""

_PROPERTIES = ("correlation_id", "reply_to", "priority")


def park(connection: Connection[Any], app: Celery, sorted_: Sorted) -> None:
    """Park those that are to be; what cannot be kept so is to run instead, with a failure for its outcome."""
    kept: list[tuple[Delivery, Message]] = []
    for delivery in sorted_.parked:
        try:
            message = _message_of(app, delivery)
            message.to_json()
        except (TypeError, ValueError, LookupError) as error:
            delivery.outcome = Failed(
                Unparkable(f"its task is held back, its message no JSON: {error}")
            )
            sorted_.run.append(delivery)
        else:
            kept.append((delivery, message))
    sorted_.parked = [delivery for delivery, _ in kept]
    if kept:
        pauses.park(connection, [(delivery.id, message) for delivery, message in kept])


def parked_answer() -> tuple[int, Any, float]:
    """What Celery's request is told: it acks, and no event says that the step has ended."""
    try:
        raise Ignore("its task is held back")
    except Ignore:
        return 1, ExceptionInfo(), 0.0


def _message_of(app: Celery, delivery: Delivery) -> Message:
    """The message as it was delivered, on its way to its queue without a delay."""
    headers = {
        name: value
        for name, value in delivery.request.items()
        if name not in _OF_CELERYS_REQUEST and not name.startswith("x-")
    }
    properties = delivery.request.get("properties") or {}
    body = delivery.body
    return Message(
        step_id=delivery.id,
        task=delivery.task,
        exchange=app.amqp.queues[delivery.queue].exchange.name,
        routing_key=delivery.queue,
        headers=headers,
        properties={
            name: properties[name] for name in _PROPERTIES if properties.get(name) is not None
        },
        body=body if isinstance(body, str) else bytes(body).decode(),
    )
