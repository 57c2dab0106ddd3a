"""Celery's consumer as the runner needs it."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Collection
from time import sleep
from typing import Any, ClassVar

from amqp import AMQPError
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer.consumer import Consumer
from celery.worker.state import reserved_requests, task_ready
from kombu.transport.native_delayed_delivery import (
    MAX_LEVEL,
    calculate_routing_key,
    level_name,
)

from services.broker_tls import explain
from services.domain.outcome import Failed
from services.ledger.message import MAX_BODY_BYTES, is_name, queue_of
from services.runner.acks import Acks
from services.runner.copies import send_copy
from services.runner.deaths import are_deaths
from services.runner.delivery import Delivery
from services.runner.draining import DrainableConsumer
from services.runner.giving_up import TooLarge, UnknownTask, Untraceable
from services.runner.headers import seconds_until, without, wrong_headers

logger = logging.getLogger(__name__)

RECONNECT_STEP_SECONDS = 1
RECONNECT_LONGEST_SECONDS = 5
"""Celery's own pauses grow to half a minute: that long a fleet would stand still behind a broker that is back."""

EVENTS_KEPT_SECONDS = 0.5
"""So long events are gathered into one message, or until there are two dozen: Flower shows a step that much later."""

_AGAIN_SECONDS = 5.0

_NAMED = {"step": "id", "task": "task"}
"""What the log says of a message, and in which headers it stands."""

_HELD_SECONDS = 1.0
"""So long a step may wait in this process for its eta; the broker's shortest delay is as long."""

LONGEST_DELAY_SECONDS = 2.0**28 - 1
"""What the levels of the delay exchanges add up to."""

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What Celery raises over a message that is no task message, wherever it stumbles."""


class StepConsumer(DrainableConsumer):
    """A consumer whose broker user may not declare anything, and that is back soon after its broker.

    The step that declares the delay topology is left out: the broker's
    definitions did that before anything started.
    """

    hub: Any
    event_dispatcher: Any
    connection_errors: tuple[type[BaseException], ...]

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]  # a class attribute of Celery's
        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pool.keep_alive = self._keep_alive
        self._has_begun = False
        self._are_events_kept = False

    def register_with_event_loop(self, hub: Any) -> None:
        """See DrainableConsumer; from here on the broker has let this process do what it has to."""
        # A connection that failed before it was registered took what was to happen later with it.
        self._are_events_kept = False
        super().register_with_event_loop(hub)
        self._has_begun = True

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Celery's; then a pause, if the broker has let this process in and refused it then.

        While a broker's node is lost and the others have not noticed, each worker's
        control queue is locked; without a pause it would try thirty times a second.
        """
        with warnings.catch_warnings():
            # What Celery 6 will do by default is said each time, in eight lines; it is set here already.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        if not self._has_begun:
            self.while_away()
            sleep(RECONNECT_STEP_SECONDS)
        self._has_begun = False

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """Celery's, for events and nothing else: without confirms, for each of which the loop would stand still."""
        options = dict(self.app.conf.broker_transport_options or {}, confirm_publish=False)
        return self.ensure_connected(
            self.app.connection_for_write(url=url, heartbeat=heartbeat, transport_options=options)
        )

    def on_send_event_buffered(self) -> Any:
        """Celery's; it sends at the next turn of the loop, which for a busy pool is a message for each event.

        Each Flower took 5.3 ms of CPU for a login that way, and takes 3.1.
        """
        if not self._are_events_kept and self.hub:
            self._are_events_kept = True
            self.hub.call_later(EVENTS_KEPT_SECONDS, self._send_events)

    def _send_events(self) -> None:
        self._are_events_kept = False
        if self.event_dispatcher is not None:
            self.event_dispatcher.flush()

    def stop(self) -> None:
        """Celery's; what the loop would have sent goes first, for monitors hear next that the worker is gone."""
        logger.info("stopping: it takes no more steps, and finishes those it has")
        self._send_events()
        super().stop()

    def _keep_alive(self) -> None:
        # The connection may be gone already; then its messages are redelivered anyway.
        with contextlib.suppress(OSError, AMQPError, AttributeError):
            connection: Any = self.connection
            connection.connection.send_heartbeat()

    def create_task_handler(self, *args: Any, **options: Any) -> Any:
        """Celery's handler; what it cannot even receive is dead-lettered instead of ending the process."""
        receive = super().create_task_handler(*args, **options)

        acks: Acks | None = None

        def on_task_received(message: Any) -> Any:
            nonlocal acks
            if acks is None or not acks.is_of(message.channel):
                acks = Acks(message.channel, self.hub.call_soon, self.connection_errors)
            acks.deliver(message)
            if self._is_not_for_us(message):
                return None
            if problem := _problem_of(message):
                self._give_up(message, problem)
                return None
            if (seconds := seconds_until(message.headers.get("eta"))) > _HELD_SECONDS:
                self._delay(message, seconds)
                return None
            try:
                return receive(message)
            except _UNREADABLE as error:
                _forget(message)
                self.on_decode_error(message, error)
                return None

        return on_task_received

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Celery's, at once: what it acks is gathered."""
        return p(*args, **kwargs)

    def _is_not_for_us(self, message: Any) -> bool:
        """What nothing may be done with as it is; answers for it."""
        if not are_deaths(message.headers.get("x-death")):
            self._send_without_deaths(message)
            return True
        if self._queue_of(message) not in self.own_queues:
            # By a header CC of its publisher's: RabbitMQ 3.10 does not ask whether it may.
            logger.error("dead-lettered a message that was sent to another pool's queue")
            self._reject(message)
            return True
        return False

    def _send_without_deaths(self, message: Any) -> None:
        """Take the header out before anything else: with it, the message cannot be rejected safely."""
        named = self._queue_of(message)
        queue = named if named in self.own_queues else self.own_queues[0]
        exchange = self.app.amqp.queues[queue].exchange.name
        logger.error("taking a made-up x-death out of message %r", message.headers.get("id"))
        self._replace(message, {"x-death"}, exchange, queue)

    def _delay(self, message: Any, seconds: float) -> None:
        """Let the broker hold what is due later: held here, it would take the place of others."""
        if seconds > LONGEST_DELAY_SECONDS:
            self._give_up(message, Untraceable("its eta is farther away than the broker can delay"))
            return
        key = calculate_routing_key(math.ceil(seconds), self._queue_of(message))
        self._replace(message, (), level_name(MAX_LEVEL), key)

    def _replace(self, message: Any, without: Collection[str], exchange: str, key: str) -> None:
        """Send a copy and ack the message; while the broker takes none, hold it and try again."""
        if send_copy(self.app, message, without, exchange, key):
            message.ack_log_error(logger, self.connection_errors)
        else:
            self.hub.call_later(_AGAIN_SECONDS, self._replace, message, without, exchange, key)

    @staticmethod
    def _queue_of(message: Any) -> str:
        return queue_of(str(message.delivery_info.get("routing_key")))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message that nobody can read; Celery would ack it, and it would be gone."""
        self._give_up(message, Untraceable(f"the message cannot be read: {exc}"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A message of a content type that is not accepted, or without what every task message has."""
        self._give_up(message, Untraceable(f"the message is no task message: {exc}"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task that this worker does not know; Celery tells nobody who waits for it."""
        self._give_up(message, UnknownTask(str(message.headers.get("task"))))

    def _give_up(self, message: Any, error: Untraceable) -> None:
        """Dead-letter the message, and end its step if it names one."""
        # Who may publish may have written anything there, or nothing.
        given = {name: message.headers.get(header) for name, header in _NAMED.items()}
        named = {name: value for name, value in given.items() if is_name(value)}
        logger.error("dead-lettered a message: %s", error, extra=named)
        # A remote command is not to be acknowledged: rejecting one makes the broker close the channel.
        is_command = message.delivery_info.get("consumer_tag") in message.channel.no_ack_consumers
        if is_command or message.acknowledged:
            return
        delivery = _unrun(message, error, lambda _: self._reject(message))
        if delivery is None:
            self._reject(message)
        else:
            self.pool.take(delivery)

    def _reject(self, message: Any) -> None:
        message.reject_log_error(logger, self.connection_errors)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker as long as it takes; the loop does not turn meanwhile."""
        self.pool.on_disconnected()
        connected = conn.ensure_connection(
            self._say_away,
            None,
            interval_start=RECONNECT_STEP_SECONDS,
            interval_step=RECONNECT_STEP_SECONDS,
            interval_max=RECONNECT_LONGEST_SECONDS,
            callback=self.while_away,
        )
        self.first_connection_attempt = False
        return connected

    def _say_away(self, error: Exception, interval: float) -> None:
        logger.warning(
            "the broker is away, trying again in %s seconds: %s", interval, explain(error)
        )


def _forget(message: Any) -> None:
    """Let Celery count a request no more that it has stumbled over: a drain would wait for it for ever."""
    for request in list(reserved_requests):
        if request.message is message:
            task_ready(request)


def _problem_of(message: Any) -> Untraceable | None:
    """Why a message is not to be run, as far as its outside tells."""
    if (size := len(message.body or b"")) > MAX_BODY_BYTES:
        return TooLarge(f"{size} bytes, more than {MAX_BODY_BYTES}")
    if "task" not in message.headers:
        return Untraceable("no message of Celery's protocol 2")
    if wrong := wrong_headers(message.headers):
        return Untraceable(f"wrong headers: {', '.join(wrong)}")
    return None


def _unrun(message: Any, error: Untraceable, on_settled: Callable[[Any], None]) -> Delivery | None:
    """A delivery that fails without being run; None if the message names no step that could be one."""
    wrong = wrong_headers(message.headers)
    if "id" in wrong or "task" in wrong:
        return None
    headers = without(message.headers, wrong)
    request = {**headers, "delivery_info": message.delivery_info}
    return Delivery(
        headers["id"],
        headers["task"],
        request,
        message.body,
        message.content_type,
        message.content_encoding,
        on_settled,
        None,
        None,
        outcome=Failed(error),
    )
