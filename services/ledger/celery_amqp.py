"""Celery's publishing edge: collects into the active unit, or publishes under the messaging rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import kombu.compression
from celery import Celery
from celery.app.amqp import AMQP
from celery.app.control import Control
from celery.canvas import Signature
from kombu import Exchange, Producer
from kombu.serialization import dumps

from services.domain.errors import Refused
from services.ledger.continuations import Continuations
from services.ledger.json_messages import read_quickly
from services.ledger.message import abridged, delay_of, queue_of
from services.ledger.results import LedgerResult
from services.ledger.unit import Unit, active_unit, refuse_large, refuse_unsendable

PUBLISH_TIMEOUT_SECONDS = 5.0
CONFIRM_TIMEOUT_SECONDS = 10.0
"""Without these a broker alarm would hold a publisher for ever."""

_EXPIRES = (
    "expires: a message that expires stops its canvas without a word;"
    " check a deadline inside the task"
)


_COMPRESSION = (
    "compression: messages are small, and nobody here unpacks one; pass ids instead of values"
)


def refuse_compression() -> None:
    """Have this process unpack no message at all.

    kombu unpacks before any limit of ours is asked, and a hundred bytes can
    become gigabytes. A compressed message is then one that cannot be read:
    its error is raised when it is decoded, and it is dead-lettered.
    """

    def refuse(_: object) -> bytes:
        raise Refused(_COMPRESSION)

    for kind in kombu.compression.encoders():
        kombu.compression.register(refuse, refuse, kind)


class GuardedProducer(Producer):
    """Publishes what a programmer sends by hand: mandatory, confirmed, bounded in time and size."""

    def publish(self, body: Any, *args: Any, **options: Any) -> Any:
        if "task" not in (options.get("headers") or {}):
            # Control messages and events may find nobody listening.
            return super().publish(body, *args, **options)
        if options.get("expiration") is not None and _is_in_canvas(body, options["headers"]):
            raise Refused(_EXPIRES)
        if options.get("compression"):
            raise Refused(_COMPRESSION)
        refuse_unsendable(options["headers"], options)
        _leave_delay_to_broker(options["headers"], options.get("routing_key"))
        options.setdefault("mandatory", True)
        if options.get("timeout") is None:
            options["timeout"] = PUBLISH_TIMEOUT_SECONDS
        if options.get("confirm_timeout") is None:
            options["confirm_timeout"] = CONFIRM_TIMEOUT_SECONDS
        return super().publish(body, *args, **options)

    def _prepare(  # kombu's own signature
        self,
        body: Any,
        serializer: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        compression: str | None = None,
        headers: dict[str, Any] | None = None,
    ) -> Any:
        prepared = super()._prepare(
            body, serializer, content_type, content_encoding, compression, headers
        )
        refuse_large((headers or {}).get("task"), len(prepared[0]))
        return prepared


def _is_in_canvas(body: Any, headers: Mapping[str, Any]) -> bool:
    embed = body[2] if isinstance(body, list | tuple) and len(body) == 3 else {}
    waiting = any(embed.get(key) for key in ("callbacks", "errbacks", "chain", "chord"))
    return waiting or bool(headers.get("group"))


def _leave_delay_to_broker(headers: dict[str, Any], routing_key: str | None) -> None:
    """Take the eta out of what the broker holds back: a worker whose clock was set back would hold it again."""
    if routing_key and delay_of(routing_key):
        headers["eta"] = None


class GuardedAMQP(AMQP):
    """Celery's AMQP helper with the producer above."""

    Producer = GuardedProducer

    def __init__(self, app: Celery) -> None:
        super().__init__(app)
        self._continuations = Continuations(app)

    def _retry_publish(self, publish: Any, *args: Any, **options: Any) -> Any:
        """Celery's, of what follows a step; into a unit it goes from a template."""
        unit = active_unit()
        signature = getattr(publish, "__self__", None)
        if (
            unit is not None
            and isinstance(signature, Signature)
            # Not `delay`, whose argument is none of many.
            and publish.__name__ == "apply_async"
            and len(args) == len(args[0]) == 1
            and self._continuations.send(unit, signature, args[0][0], options)
        ):
            return None
        return super()._retry_publish(publish, *args, **options)  # type: ignore[misc]  # in no stub

    @property
    def producer_pool(self) -> Any:
        pool = super().producer_pool
        # kombu's pool is shared by connection; it takes its class from this attribute.
        pool.Producer = GuardedProducer
        return pool

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Celery's; what monitors are shown of the arguments is Python's own text of them.

        Celery's `saferepr` is made for values of any size, kind and depth, and these are JSON of
        at most 64 KiB: it took up to a tenth of a pool's time, that of results included.
        """
        shown = tuple(args) if isinstance(args, list | tuple) else ()
        for field, value in (("argsrepr", shown), ("kwargsrepr", kwargs or {})):
            if options.get(field) is None:
                options[field] = abridged(repr(value))
        return super().as_task_v2(task_id, name, args, kwargs, *more, **options)


class _NoConnection:
    """Stands where Celery wants a connection while nothing is sent, so that nothing is retried."""

    recoverable_connection_errors = ()
    recoverable_channel_errors = ()
    connection_errors = ()
    channel_errors = ()

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        yield


class CollectingProducer:
    """Takes the place of kombu's producer and collects into a unit."""

    connection = _NoConnection()

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def publish(
        self,
        body: Any,
        *,
        exchange: Exchange | str,
        routing_key: str,
        headers: dict[str, Any],
        serializer: str = "json",
        correlation_id: str | None = None,
        reply_to: str | None = None,
        priority: int | None = None,
        expiration: float | None = None,
        **_: Any,
    ) -> None:
        """Collect a task message.

        Raises:
            Refused: for a serializer other than JSON, for `expires`, which would end a canvas silently, or
                for an id that is no text.
            MessageTooLarge: a body above 64 KiB, or headers above 48.
        """
        if serializer != "json":
            raise Refused(f"serializer {serializer!r}: messages are JSON only")
        if expiration is not None:
            raise Refused(_EXPIRES)
        _leave_delay_to_broker(headers, routing_key)
        data: Any = dumps(body, serializer="json")[2]
        properties: dict[str, Any] = {
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "priority": priority,
        }
        self._unit.collect(
            data,
            exchange.name if isinstance(exchange, Exchange) else exchange,
            routing_key,
            headers,
            {name: value for name, value in properties.items() if value is not None},
        )


class LedgerControl(Control):
    """Celery's remote control, without what Celery revokes by itself when a chord fails."""

    def revoke(self, *args: Any, **options: Any) -> Any:
        """Revoke steps, but nothing on behalf of a failed join: its body is blocked, to be replayed."""
        unit = active_unit()
        if unit is not None and unit.is_settling:
            return None
        return super().revoke(*args, **options)


class LedgerApp(Celery[Any]):
    """A Celery app whose publishing goes into the active unit when there is one."""

    amqp_cls: Any = GuardedAMQP
    control_cls: Any = LedgerControl
    _is_utc: bool | None = None

    def on_init(self) -> None:
        """Celery's hook for subclasses."""
        refuse_compression()
        read_quickly()

    def uses_utc_timezone(self) -> bool:
        """Celery's, which it asks for each message; the zone, once looked up, stays."""
        if self._is_utc is None:
            self._is_utc = bool(super().uses_utc_timezone())
        return self._is_utc

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802  # Celery's own name
        """Celery's, which finds a result's parent too."""
        return self.subclass_with_self(LedgerResult, name="AsyncResult")

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Celery's, with delays in whole seconds, rounded up: the broker's native delays know no others.

        Celery's own rounds down, lets the worker wait for the rest, and refuses
        what is below one second. And a retry goes back to the queue that it came
        from: Celery's gives the message's exchange and routing key, takes the
        default queue beside them, and delays it into that.

        Raises:
            QueueNotFound: the queue, or the one that the routing key names, is not in the topology.
        """
        if options.get("routing_key") and not options.get("queue"):
            options["queue"] = queue_of(options["routing_key"])
            options["routing_key"] = options["exchange"] = None
        countdown, eta = options.get("countdown"), options.pop("eta", None)
        if eta is not None:
            moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            countdown = (moment - datetime.now(UTC)).total_seconds()
        options["countdown"] = math.ceil(countdown) if countdown and countdown > 0 else None
        return super().send_task(name, *args, **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        unit = active_unit()
        if unit is None or producer is not None:
            return super().producer_or_acquire(producer)
        return nullcontext(CollectingProducer(unit))
