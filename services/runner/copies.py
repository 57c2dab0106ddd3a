"""Puts a copy of a received message elsewhere, in place of the message itself."""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Mapping
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
_UNWRITABLE = (struct.error, amqp.FrameSyntaxError, UnicodeError, ValueError, RecursionError)


def send_copy(
    app: Celery, message: Any, without: Collection[str], exchange: str, routing_key: str
) -> bool:
    """Publish what was received, but for some headers; whether the broker has confirmed it.

    The caller acks the message once it has. At least once: who is killed in between
    leaves both, and a step runs once all the same. Waits up to a few seconds for the
    broker.
    """
    headers = {name: value for name, value in message.headers.items() if name not in without}
    try:
        try:
            _publish(app, message, headers, exchange, routing_key)
        except _UNWRITABLE:
            # Better without any than to be read again and again: the body is kept.
            _publish(app, message, {}, exchange, routing_key)
    except _REFUSED as error:
        logger.warning("a message that is to be sent on stays in hand: %s", error)
        return False
    return True


def _publish(
    app: Celery, message: Any, headers: Mapping[str, Any], exchange: str, routing_key: str
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
            routing_key=routing_key,
            timeout=_TIMEOUT_SECONDS,
            confirm_timeout=_TIMEOUT_SECONDS,
        )
    finally:
        connection.release()
