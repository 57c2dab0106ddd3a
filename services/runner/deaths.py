"""Keeps made-up `x-death` headers away from the broker's dead-lettering."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import amqp
import kombu.exceptions
from celery import Celery

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 5.0
_REFUSED = (
    OSError,
    amqp.AMQPError,
    amqp.exceptions.MessageNacked,
    kombu.exceptions.OperationalError,
)
_UNWRITABLE = (struct.error, amqp.FrameSyntaxError, UnicodeError, ValueError)
_FIELDS: Mapping[str, type] = {
    "count": int,
    "reason": str,
    "queue": str,
    "exchange": str,
    "routing-keys": list,
    "time": datetime,
}


def are_deaths(value: Any) -> bool:
    """Whether this is what the broker itself writes into `x-death`: a list of tables, or nothing.

    RabbitMQ 3.10 looks into it whenever it dead-letters a message; a list of
    anything else ends the processes that move messages for all quorum queues of
    its node, and a count that is no integer makes a message that cannot be
    delivered. Whoever may publish can write both.
    """
    return value is None or (isinstance(value, list) and all(_is_death(each) for each in value))


def _is_death(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    known = (isinstance(value.get(name), kind) for name, kind in _FIELDS.items())
    return all(known) and not isinstance(value["count"], bool)


def send_without(app: Celery, message: Any, exchange: str, queue: str) -> bool:
    """Put a copy of a received message, without its `x-death`, into its queue; whether it is there now.

    The caller acks the message once its copy is confirmed. At least once: who is
    killed in between leaves both, and a step runs once all the same. Waits up to a
    few seconds for the broker.
    """
    left_out = {"x-death"}
    if not message.errors:
        # Celery's library has decompressed the body already.
        left_out.add("compression")
    headers = {name: value for name, value in message.headers.items() if name not in left_out}
    try:
        try:
            _publish(app, message, headers, exchange, queue)
        except _UNWRITABLE:
            # Better without any than to be read again and again: the body is kept.
            _publish(app, message, {}, exchange, queue)
    except _REFUSED as error:
        logger.warning("a message with a made-up x-death stays in hand: %s", error)
        return False
    return True


def _publish(
    app: Celery, message: Any, headers: Mapping[str, Any], exchange: str, queue: str
) -> None:
    options = dict(app.conf.broker_transport_options or {}, confirm_publish=True)
    connection: Any = app.connection_for_write(transport_options=options)
    try:
        connection.ensure_connection(max_retries=1, timeout=_TIMEOUT_SECONDS)
        properties = {k: v for k, v in message.properties.items() if k != "application_headers"}
        copy = amqp.Message(message.body, application_headers=dict(headers), **properties)
        connection.channel().basic_publish(
            copy,
            exchange=exchange,
            routing_key=queue,
            timeout=_TIMEOUT_SECONDS,
            confirm_timeout=_TIMEOUT_SECONDS,
        )
    finally:
        connection.release()
