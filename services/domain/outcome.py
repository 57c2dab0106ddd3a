"""What a handler says about one item of its list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.domain.model import Channel, Level

Wire = Mapping[str, Any]
"""A small JSON object: ids and facts, no personal data, since logs, Flower and dead letters show it."""


@dataclass(frozen=True, slots=True)
class VerdictStored:
    """A login has its verdict, so many seconds after it was accepted; None: it had been kept without one before."""

    level: Level
    seconds: float | None


@dataclass(frozen=True, slots=True)
class NoticeEnded:
    """A notice has left over its channel, was given up, or came back after it had left."""

    channel: Channel
    outcome: Literal["sent", "failed", "superseded", "bounced"]


Effect = VerdictStored | NoticeEnded
"""What monitoring counts of an item, once its transaction is committed."""


@dataclass(frozen=True, slots=True)
class Done:
    """The item's effect is in the transaction (or was there before).

    `result` travels to the next step. `notices` are ids of notices that were
    recorded for the first time: `services.canvas` starts one delivery for each,
    which waits in the queue `onto`, or where all do.
    `has_many_notices`: their deliveries belong to no workflow, for each step of one looks
    whether it is the last. `effects` are those of this transaction, not of one before.
    """

    result: Wire
    notices: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    has_many_notices: bool = False
    onto: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The item could not be done: `Unavailable` is tried again, `Refused` is not, anything else is a bug."""

    error: Exception


Outcome = Done | Failed
