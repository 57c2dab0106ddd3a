"""Publishes many messages on one channel with pipelined confirms."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import amqp
import kombu.exceptions
from amqp.spec import Basic
from celery import Celery

from services.broker_tls import explain
from services.domain.errors import Unavailable
from services.ledger.message import Message

logger = logging.getLogger(__name__)

_REFUSED = (
    # The broker closes the channel over a message, or the connection: its headers are no one frame.
    amqp.IrrecoverableChannelError,
    amqp.exceptions.FrameError,
    # It cannot be written at all: a number of 65 bits, a long id, a number in the place of a text.
    amqp.FrameSyntaxError,
    struct.error,
    AttributeError,
    TypeError,
    ValueError,
)
"""One message's fault, and no other's."""

_PUBLISH_FORMAT = "Bssbb"
"""Of basic.publish's arguments in AMQP 0-9-1: reserved, exchange, routing key, mandatory, immediate."""

_WINDOW = 500
"""Messages in flight without a confirm; bounds what the socket's buffers must hold."""

_AFTER_REFUSAL_SECONDS = 1.0
"""So long the other confirms may take once the broker has refused one message."""


class Publisher:
    """Sends messages and knows which of them the broker has taken.

    Mandatory and persistent. Not thread-safe: one for each thread. The
    connection is opened when first needed and again after an error.
    """

    def __init__(self, app: Celery, timeout_seconds: float = 10.0) -> None:
        self._app = app
        self._timeout = timeout_seconds
        self._connection: Any = None
        self._channel: Any = None
        self._tags: dict[int, str] = {}
        self._confirmed: list[str] = []
        self._refused: set[str] = set()
        self._nacked: set[str] = set()
        self._deadline = 0.0
        self._next_tag = 1

    def publish(
        self, messages: Sequence[Message], on_sent: Callable[[int], None] | None = None
    ) -> list[str]:
        """Publish `messages`; returns the step ids that the broker confirmed.

        A message that the broker refuses (full queue, no route, no such
        exchange, no permission) is missing in the answer and logged: the relay
        tries it again from the ledger. What it rejects is first sent once more, on
        another connection: a channel of RabbitMQ 3.10 that was opened while a queue
        had lost its leader was seen to reject one message for it after the other.
        on_sent: called with the index of each message after it was written, each alone then.

        Raises:
            Unavailable: when the broker does not answer in time, after one
                reconnection. Some of the messages may have arrived; sending
                them again is harmless.
        """
        if not messages:
            return []
        try:
            return self._publish_again(messages, on_sent)
        except BaseException:
            # What has a number and was not written would be taken for what the next one's confirm is about.
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next publish opens another."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()

    def _publish_again(
        self, messages: Sequence[Message], on_sent: Callable[[int], None] | None
    ) -> list[str]:
        try:
            taken = self._publish(messages, on_sent)
            if not self._nacked:
                return taken
        except _REFUSED:
            return self._publish_apart(messages)
        except _broken():
            taken = self._taken()
        self.close()
        known = set(taken)
        left = [message for message in messages if message.step_id not in known]
        try:
            return taken + self._publish(left, on_sent)
        except _REFUSED:
            return taken + self._publish_apart(left)
        except _broken() as error:
            self.close()
            if self._nacked:
                # It does answer; what it has not confirmed by now is the relay's.
                return taken + self._taken()
            raise Unavailable(f"the broker does not answer: {explain(error)}") from error

    def _publish(
        self, messages: Sequence[Message], on_sent: Callable[[int], None] | None
    ) -> list[str]:
        self._confirmed, self._refused, self._nacked = [], set(), set()
        channel = self._open()
        if channel.connection is None:
            raise amqp.RecoverableConnectionError("the channel is closed")
        transport = channel.connection.transport
        self._deadline = monotonic() + self._timeout
        with transport.having_timeout(self._timeout), transport.gathering():
            for index, message in enumerate(messages):
                if len(self._tags) >= _WINDOW:
                    transport.flush()
                    self._await_confirms(_WINDOW // 2)
                self._write(channel, message)
                if on_sent is not None:
                    transport.flush()
                    on_sent(index)
        self._await_confirms(0)
        return self._taken()

    def _write(self, channel: Any, message: Message) -> None:
        # py-amqp's own basic_publish looks for what the broker says before each message, and sets time-outs anew.
        arguments = (0, message.exchange, message.routing_key, True, False)
        content = self._prepared(channel, message)
        channel.send_method(Basic.Publish, _PUBLISH_FORMAT, arguments, content)
        self._tags[self._next_tag] = message.step_id
        self._next_tag += 1

    def _taken(self) -> list[str]:
        return [step_id for step_id in self._confirmed if step_id not in self._refused]

    def _publish_apart(self, messages: Sequence[Message]) -> list[str]:
        """One by one: a message that is refused, by the broker or by AMQP's own limits, takes no other with it."""
        self.close()
        confirmed: list[str] = []
        for message in messages:
            try:
                confirmed += self._publish([message], None)
            except _REFUSED as error:
                # The channel comes back by itself, but without confirms.
                self.close()
                about = {"step": message.step_id, "task": message.task, "queue": message.queue}
                logger.warning("the broker refused the message: %s", error, extra=about)
            except _broken() as error:
                self.close()
                raise Unavailable(f"the broker does not answer: {explain(error)}") from error
        return confirmed

    def _await_confirms(self, remaining: int) -> None:
        while len(self._tags) > remaining:
            left = self._deadline - monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(self._tags)} confirms did not come")
            self._connection.drain_events(timeout=left)

    def _open(self) -> Any:
        if self._channel is not None:
            return self._channel
        options = dict(self._app.conf.broker_transport_options or {}, confirm_publish=False)
        connection: Any = self._app.connection_for_write(transport_options=options)
        connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=self._timeout)
        channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._connection, self._channel = connection, channel
        self._tags, self._next_tag = {}, 1
        return channel

    def _prepared(self, channel: Any, message: Message) -> Any:
        more = dict(message.properties)
        return channel.prepare_message(
            message.body,
            priority=more.pop("priority", 0),
            content_type="application/json",
            content_encoding="utf-8",
            headers=dict(message.headers),
            # The id by which a returned message is recognised.
            properties={"delivery_mode": 2, "message_id": message.step_id, **more},
        )

    def _settle(self, delivery_tag: int, multiple: bool) -> list[str]:
        tags = [t for t in self._tags if t <= delivery_tag] if multiple else [delivery_tag]
        return [self._tags.pop(tag) for tag in tags if tag in self._tags]

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._confirmed += self._settle(delivery_tag, multiple)

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._deadline = min(self._deadline, monotonic() + _AFTER_REFUSAL_SECONDS)
        for step_id in self._settle(delivery_tag, multiple):
            self._nacked.add(step_id)
            logger.warning("the broker refused the message", extra={"step": step_id})

    def _on_return(self, error: Exception, exchange: str, key: str, message: Any) -> None:
        step_id = message.properties.get("message_id")
        self._refused.add(step_id)
        logger.error("no queue: %s %s (%s)", exchange, key, error, extra={"step": step_id})


def _broken() -> tuple[type[BaseException], ...]:
    return (OSError, amqp.AMQPError, kombu.exceptions.OperationalError)
