"""One message in a worker's hands, with the callbacks of Celery's request for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from kombu.serialization import loads

from services.domain.outcome import Outcome
from services.ledger.message import queue_of
from services.ledger.shape import shape_of

JSON = "application/json"


@dataclass(slots=True)
class Delivery:
    """A delivered message.

    `outcome` is set once the handler of an I/O step has answered, `is_committing`
    before its end is committed (the answer to which may get lost); `leased_until`
    tells our reservation of an I/O step from another process's, `asked_until` the last one that
    was asked for, whether or not it was committed, and `may_begin_until` how long its
    call may begin under that, by this process's own clock; `is_alone` is set when those whom its message
    names cannot be told of its end, `is_put_off` once somebody else held rows that it,
    or a neighbour in its list, needs; `is_permitted` tells whether a step of a limited task may
    begin, None before anybody has asked; `is_wait_told` once its time in the queue
    has been measured; `on_begun` is to be called when its work begins, with the process and the
    monotonic time, and `run_seconds` is how long its handler took; `on_answered` is called
    when the message has been acked or rejected;
    `payload` is for `take_payload`, `is_handed_out` once a handler has had it.
    """

    id: str
    task: str
    request: dict[str, Any]
    body: Any
    content_type: str | None
    content_encoding: str | None
    on_success: Callable[[tuple[int, Any, float]], Any]
    soft_limit: float | None
    hard_limit: float | None
    outcome: Outcome | None = None
    received_at: float = field(default_factory=monotonic)
    began_at: datetime | None = None
    is_counted: bool = False
    is_committing: bool = False
    is_alone: bool = False
    is_put_off: bool = False
    is_permitted: bool | None = None
    is_wait_told: bool = False
    leased_until: datetime | None = None
    asked_until: datetime | None = None
    may_begin_until: float = 0.0
    on_begun: Callable[[int, float], object] | None = None
    run_seconds: float = 0.0
    on_answered: Callable[[], object] | None = None
    payload: Any = None
    is_handed_out: bool = False

    def take_payload(self) -> Any:
        """The body as Celery's request has decoded it; once, for what executes a step may change it."""
        payload, self.payload = self.payload, None
        return payload

    @property
    def is_redelivered(self) -> bool:
        return bool(self.request["delivery_info"].get("redelivered"))

    @property
    def is_suspect(self) -> bool:
        """Delivered for the third time or more: something ends its process again and again."""
        return int(self.request.get("x-delivery-count") or 0) > 1

    @property
    def queue(self) -> str:
        return queue_of(str(self.request["delivery_info"].get("routing_key")))

    @property
    def retries(self) -> int:
        return int(self.request.get("retries") or 0)

    def value(self) -> Any:
        """The message's value: its only argument, or all of them when there are several.

        Each time as it was sent: a handler may change what it is given.
        """
        is_ours = self.payload is not None and not self.is_handed_out
        args, kwargs, _ = self.payload if is_ours else self._decoded()
        self.is_handed_out = True
        return single_value(args, kwargs)

    def embed(self) -> dict[str, Any]:
        """What Celery put behind the arguments: chain, chord, callbacks and errbacks; {} if unreadable."""
        if self.is_alone:
            return dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
        try:
            embed = self._decoded()[2]
        except Exception:  # noqa: BLE001  # the body may be anything that anybody sent
            return {}
        return dict(embed) if isinstance(embed, Mapping) else {}

    def shape(self) -> str | None:
        """Its place in its canvas, for the ledger; None when it stands alone, or its body is unreadable."""
        try:
            return shape_of(self.id, {**self.request, "task": self.task}, self._decoded())
        except Exception:  # noqa: BLE001  # the body may be anything that anybody sent
            return None

    @property
    def is_in_canvas(self) -> bool:
        """Whether anything waits for this step's end."""
        following = self.embed()
        waiting = any(following.get(key) for key in ("callbacks", "errbacks", "chain", "chord"))
        return waiting or bool(self.request.get("group"))

    def _decoded(self) -> Any:
        if not self.content_type:
            return self.body
        return loads(self.body, self.content_type, self.content_encoding or "utf-8", accept={JSON})


def single_value(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a handler gets of a task's arguments."""
    values = [*args, *kwargs.values()]
    return values[0] if len(values) == 1 else tuple(values)
