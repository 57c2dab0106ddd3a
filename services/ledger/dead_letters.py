"""Reads dead-letter queues without taking anything out until it is told to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import amqp
import kombu.exceptions
from kombu import Connection
from kombu.compression import decompress

from routing.topology import dead_queue_name
from services.broker_tls import BrokerTls, explain
from services.domain.errors import Refused, Unavailable
from services.ledger.dead_canvas import generation_of
from services.ledger.message import Message, is_name

_ANSWER_SECONDS = 10
_SILENCE_SECONDS = 1.0
_SILENCES, _PAUSES = 10, 60
_RETURN_SECONDS, _RETURN_POLL_SECONDS = 1.0, 0.01

_HANDFUL = 5_000
"""Letters that one channel holds: a quorum queue reads them from its log at once, and stops at 2,000 if not told."""

_JSON = "application/json"


@dataclass(slots=True)
class Letter:
    """One message in a dead-letter queue, in our hands until we acknowledge it or leave.

    id: of its step; for a message that names none, `unreadable-` and a digest of its body.
    task: None where it is no name.
    queue: the work queue that gave it up. cause: the broker's word for why.
    message: None when `unreadable` says why nobody can run it.
    """

    id: str
    queue: str
    task: str | None
    generation: int
    cause: str
    died_at: datetime | None
    message: Message | None
    unreadable: str | None
    headers: Mapping[str, Any]
    body: bytes
    received: tuple[Any, int]  # the channel and its delivery tag


class DeadLetters:
    """The dead letters of one broker. All that is not acknowledged returns to its place at the end.

    So whoever is killed while holding some loses nothing; meanwhile others do
    not see these. Use it as a context manager; not thread-safe.
    """

    def __init__(self, broker_url: str, tls: BrokerTls | None = None) -> None:
        self._connection = Connection(
            broker_url, connect_timeout=_ANSWER_SECONDS, ssl=tls.options() if tls else False
        )
        self._channels: list[Any] = []
        self._held: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what was not acknowledged. The queue keeps its order.

        The next reader finds all of it: the broker returns a closed channel's
        messages a moment later, and we wait for that, a second at most (another
        reader may have taken them).
        """
        channels, self._channels = self._channels, []
        held, self._held = self._held, Counter()
        try:
            for channel in channels:
                channel.close()
            if held.total():
                self._wait_until_back(held)
            self._connection.release()
        except _broken():
            self._connection.collect()

    def waiting(self, queue: str) -> int:
        """How many letters a work queue's dead-letter queue has; what others hold does not count.

        Raises:
            Unavailable, Refused: as `read`.
        """
        name = dead_queue_name(queue)
        with self._explained(name):
            channel = self._new_channel()
            found = channel.queue_declare(name, passive=True)
            return int(found.message_count)

    def read(self, queue: str) -> Iterator[Letter]:
        """Take each letter of a work queue's dead-letter queue into our hands, the oldest first.

        Raises:
            Unavailable: the broker does not answer.
            Refused: this user may not read the queue, or it is not there.
        """
        name = dead_queue_name(queue)
        with self._explained(name):
            yield from self._read(name, queue)

    def acknowledge(self, letters: Sequence[Letter]) -> None:
        """Take these out of their queues for good.

        Raises:
            Unavailable: the broker does not answer; they stay.
        """
        try:
            for letter in letters:
                channel, tag = letter.received
                channel.basic_ack(tag)
                self._held[dead_queue_name(letter.queue)] -= 1
        except _broken() as error:
            raise Unavailable(f"the broker does not answer: {explain(error)}") from error

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except amqp.AccessRefused as error:
            raise Refused(
                f"the broker's user {self._connection.userid} may not read {name}:"
                " use the operator's, or an administrator's"
            ) from error
        except amqp.NotFound as error:
            raise Refused(f"the broker has no queue {name}: doorbell topology verify") from error
        except _broken() as error:
            raise Unavailable(f"the broker does not answer: {explain(error)}") from error

    def _read(self, name: str, queue: str) -> Iterator[Letter]:
        while True:
            channel = self._new_channel()
            waiting = channel.queue_declare(name, passive=True).message_count
            if not waiting:
                return
            taken = 0
            for message in self._consume(channel, name, min(waiting, _HANDFUL)):
                taken += 1
                self._held[name] += 1
                yield _letter(message, queue, channel)
            if taken < _HANDFUL:
                return

    def _consume(self, channel: Any, name: str, count: int) -> Iterator[Any]:
        """The next `count` messages, fewer when somebody else takes them first."""
        arrived: list[Any] = []
        channel.basic_qos(0, count, False)
        tag = channel.basic_consume(name, callback=arrived.append)
        silences = 0
        while count > 0:
            if not arrived:
                try:
                    self._connection.connection.drain_events(timeout=_SILENCE_SECONDS)
                except TimeoutError:
                    # A busy broker may pause, but not promise what somebody else has taken.
                    waiting = channel.queue_declare(name, passive=True).message_count
                    silences += 1
                    if silences >= (_PAUSES if waiting else _SILENCES):
                        break
                    continue
            messages = arrived[:]
            arrived.clear()
            silences = 0
            count -= len(messages)
            yield from messages
        channel.basic_cancel(tag)

    def _wait_until_back(self, held: Mapping[str, int]) -> None:
        deadline = monotonic() + _RETURN_SECONDS
        channel: Any
        with self._connection.channel() as channel:
            for name, count in held.items():
                while channel.queue_declare(name, passive=True).message_count < count:
                    if monotonic() > deadline:
                        return
                    sleep(_RETURN_POLL_SECONDS)

    def _new_channel(self) -> Any:
        self._connection.ensure_connection(max_retries=1, interval_start=1, timeout=_ANSWER_SECONDS)
        self._channels.append(self._connection.connection.channel())
        return self._channels[-1]


def _letter(received: Any, queue: str, channel: Any) -> Letter:
    headers = dict(received.headers or {})
    body = received.body if isinstance(received.body, bytes) else str(received.body).encode()
    step_id, task = (_name(headers.get(key)) for key in ("id", "task"))
    death = _first_death(headers.get("x-death"))
    message, problem = _readable(received, headers, body, queue)
    return Letter(
        id=step_id or f"unreadable-{hashlib.sha256(body).hexdigest()[:32]}",
        queue=queue,
        task=task,
        generation=generation_of(headers),
        cause=str(death.get("reason") or "unknown"),
        died_at=_moment(death.get("time")),
        message=message,
        unreadable=problem,
        headers=headers,
        body=body,
        received=(channel, received.delivery_tag),
    )


def _readable(
    received: Any, headers: dict[str, Any], body: bytes, queue: str
) -> tuple[Message | None, str | None]:
    """The message as the ledger keeps it, or why it is none."""
    if not is_name(headers.get("id")) or not is_name(headers.get("task")):
        return None, "its headers name no step and task (not Celery's protocol 2)"
    kept_headers = _kept(headers)
    if wrong := [name for name, value in kept_headers.items() if not _is_json(name, value)]:
        return None, f"its headers hold what JSON cannot: {', '.join(map(ascii, wrong))}"
    properties = received.properties or {}
    content_type = properties.get("content_type")
    if content_type != _JSON:
        return None, f"its content type is {content_type}, not {_JSON}"
    try:
        if compression := headers.get("compression"):
            body = decompress(body, compression)
        text = body.decode()
        decoded = json.loads(text)
    except Exception as error:  # noqa: BLE001  # any of the codecs' errors
        return None, f"its body is no JSON: {error}"
    if not _is_task_body(decoded):
        return None, "its body is not [args, kwargs, embed]"
    kept = ("correlation_id", "reply_to", "priority")
    return Message(
        step_id=str(headers["id"]),
        task=str(headers["task"]),
        exchange="",
        routing_key=queue,
        headers=kept_headers,
        properties={name: properties[name] for name in kept if properties.get(name) is not None},
        body=text,
    ), None


def _name(value: Any) -> str | None:
    return value if is_name(value) else None


def _first_death(deaths: Any) -> Mapping[str, Any]:
    """What the broker noted last; a publisher may have put anything in its place."""
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, Mapping) else {}


def _is_task_body(decoded: Any) -> bool:
    kinds: tuple[tuple[type, ...], ...] = ((list,), (dict,), (dict, type(None)))
    return (
        isinstance(decoded, list)
        and len(decoded) == len(kinds)
        and all(isinstance(part, kind) for part, kind in zip(decoded, kinds, strict=True))
    )


def _kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    # What the broker added may hold times, and is of no use to a new message; compression is undone.
    return {
        name: value
        for name, value in headers.items()
        if name != "compression" and not str(name).startswith("x-")
    }


def _is_json(name: object, value: object) -> bool:
    """Whether the ledger can keep it, and a publisher send it again."""
    try:
        text = json.dumps({name: value}, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(name, str) and "\\u0000" not in text


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _broken() -> tuple[type[BaseException], ...]:
    return (OSError, amqp.AMQPError, kombu.exceptions.OperationalError)
