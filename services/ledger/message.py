"""A message as it will be published: complete, so that the ledger can publish it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MAX_BODY_BYTES = 64 * 1024
"""Messages carry ids and small results; a larger body is refused at the publisher."""

MAX_HEADERS_BYTES = 48 * 1024
"""As JSON; AMQP's numbers are up to two and a half times as long, and all headers are one frame of 128 KiB."""

LONGEST_NAME_BYTES = 255

_SHOWN = 1024

_DELAY_BITS = 28


@dataclass(frozen=True, slots=True)
class Message:
    """One task message (Celery protocol 2, JSON) with the place it goes to.

    Publishing it twice is harmless: both copies carry the same step id.
    """

    step_id: str
    task: str
    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: str

    @property
    def queue(self) -> str:
        """The queue it ends in, also when it goes through the delay exchanges."""
        return queue_of(self.routing_key)

    @property
    def retries(self) -> int:
        return int(self.headers.get("retries") or 0)

    @property
    def delay_seconds(self) -> int:
        """How long the delay exchanges hold it, in seconds."""
        return delay_of(self.routing_key)

    def embed(self) -> dict[str, Any]:
        """What Celery puts behind the arguments: chain, chord, callbacks and errbacks."""
        embed: dict[str, Any] = json.loads(self.body)[2]
        return embed

    def to_json(self) -> str:
        # Not `asdict`, which copies all that it finds inside, object by object.
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild a message from the decoded JSON of `to_json`."""
        return cls(**value)


def is_name(value: Any) -> bool:
    """Whether a step or a task can be called so: printable, and no longer than AMQP and PostgreSQL hold.

    A line break or a terminal's escape would write into logs and onto screens what nobody said.
    """
    if not isinstance(value, str) or not value.isprintable():
        return False
    return 0 < len(value.encode()) <= LONGEST_NAME_BYTES


def abridged(text: str) -> str:
    """What monitors are shown of a message's arguments: 1,024 characters at most, as in Celery."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def replacements_of(headers: Mapping[str, Any]) -> int:
    """How often the step was replaced by another task (Task.replace) before this message was made."""
    value = headers.get("replaced_task_nesting")
    return value if isinstance(value, int) else 0


def queue_of(routing_key: str) -> str:
    """The queue that a routing key leads to, also the key of a delayed message."""
    parts = routing_key.split(".", _DELAY_BITS)
    return parts[-1] if len(parts) > _DELAY_BITS else routing_key


def delay_of(routing_key: str) -> int:
    """The seconds for which the delay exchanges hold a message with this key."""
    parts = routing_key.split(".", _DELAY_BITS)
    return int("".join(parts[:-1]), 2) if len(parts) > _DELAY_BITS else 0
