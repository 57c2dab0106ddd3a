"""What one step's execution wants written and sent, held back until its commit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from services.domain.errors import MessageTooLarge, Refused
from services.domain.outcome import Effect
from services.ledger.labels import attach
from services.ledger.message import MAX_BODY_BYTES, MAX_HEADERS_BYTES, Message, is_name


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A step's state as Celery's backend interface stores it; `result` is encoded JSON."""

    step_id: str
    status: str
    result: str | None
    traceback: str | None
    children: str | None
    task: str | None
    root_id: str | None
    parent_id: str | None
    retries: int


@dataclass(frozen=True, slots=True)
class JoinPart:
    """One finished leaf of a chord's header. `body` is the chord's body signature."""

    join_id: str
    step_id: str
    position: int | None
    status: str
    result: str | None
    body: Any


@dataclass(slots=True)
class Unit:
    """Everything that Celery did on behalf of one step, to be committed at once.

    While a unit is active in this context, publishing and the result backend
    write into it instead of to the broker and the database. `step_id` names
    the step, if it is one that this process executes, `label` what monitors show
    of those that it sends; `is_settling` is true
    while a join fires, `is_waiting` when its join waits for other leaves,
    `is_replaced` when a canvas takes the step's place (Task.replace);
    `unsendable` has the ids of bodies that could not be sent, with the reason;
    `effects` are what monitoring counts once they are committed, `lone` the ids of
    steps that it sends and that belong to no workflow.
    """

    step_id: str | None = None
    label: str | None = None
    messages: list[Message] = field(default_factory=list)
    results: dict[str, StoredResult] = field(default_factory=dict)
    parts: list[JoinPart] = field(default_factory=list)
    join_sizes: dict[str, int] = field(default_factory=dict)
    join_headers: dict[str, str] = field(default_factory=dict)
    join_growth: dict[str, int] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    is_settling: bool = False
    is_waiting: bool = False
    is_replaced: bool = False
    unsendable: dict[str, str] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    lone: list[str] = field(default_factory=list)

    @contextmanager
    def active(self) -> Iterator[Unit]:
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)

    def merge(self, other: Unit) -> None:
        """Take over what `other` holds."""
        self.messages += other.messages
        self.results |= other.results
        self.parts += other.parts
        self.join_sizes |= other.join_sizes
        self.join_headers |= other.join_headers
        self.groups |= other.groups
        self.lone += other.lone
        for join_id, more in other.join_growth.items():
            self.join_growth[join_id] = self.join_growth.get(join_id, 0) + more

    def collect(
        self,
        body: bytes | str,
        exchange: str,
        routing_key: str,
        headers: dict[str, Any],
        properties: dict[str, Any],
    ) -> None:
        """Hold a message back.

        Raises:
            MessageTooLarge: a body above 64 KiB, or headers above 48.
            Refused: its id, or where its answer goes, is no text that a message could carry.
        """
        text = body.decode() if isinstance(body, bytes) else body
        # Celery's retry copies all headers: what the broker counts of one message is not true of the next.
        headers = {name: value for name, value in headers.items() if not name.startswith("x-")}
        attach(headers, self.label)
        refuse_large(headers.get("task"), len(text.encode()))
        refuse_unsendable(headers, properties)
        self.messages.append(
            Message(
                step_id=headers["id"],
                task=headers["task"],
                exchange=exchange,
                routing_key=routing_key,
                headers=headers,
                properties=properties,
                body=text,
            )
        )


def refuse_large(task: str | None, size: int) -> None:
    """Raise MessageTooLarge when a body of `size` bytes is above the limit."""
    if size > MAX_BODY_BYTES:
        raise MessageTooLarge(
            f"the message for {task} is {size} bytes, more than {MAX_BODY_BYTES}:"
            " pass ids instead of values"
        )


def refuse_unsendable(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    """Raise what a message would be refused for by the broker, or by whoever writes it, once it is committed.

    Raises:
        MessageTooLarge: headers above 48 KiB.
        Refused: its id, correlation_id or reply_to is not of 1 to 255 printable characters.
    """
    task = headers.get("task")
    named = {"task_id": headers.get("id")} | {
        name: properties[name]
        for name in ("correlation_id", "reply_to")
        if properties.get(name) not in (None, "")
    }
    for name, value in named.items():
        if not is_name(value):
            raise Refused(
                f"{name} of a message for {task}: give it as text of 1 to 255 bytes,"
                f" printable, not {str(value)[:40]!r} ({type(value).__name__})"
            )
    size = len(json.dumps(headers, default=str))
    if size > MAX_HEADERS_BYTES:
        raise MessageTooLarge(
            f"the headers of the message for {task} are {size} bytes, more than {MAX_HEADERS_BYTES}:"
            " pass ids instead of values"
        )


_active: ContextVar[Unit | None] = ContextVar("doorbell_active_unit", default=None)


def active_unit() -> Unit | None:
    """The unit that collects in this context, if any."""
    return _active.get()
