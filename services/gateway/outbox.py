"""Publishes the first messages right after their commit, and watches what has not gone out."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from services.domain.errors import Unavailable
from services.gateway.intake import ANSWER_SECONDS
from services.gateway.metrics import Metrics
from services.gateway.problems import DATABASE_ERRORS
from services.ledger.confirms import Confirm, Confirms
from services.ledger.message import Message

MAX_UNPUBLISHED = 100_000
"""Above so many messages without a confirm, no login is accepted until the broker has caught up."""
MAX_UNPLANNED = 1_000_000
"""As many logins without steps: no more are accepted until the pools have caught up."""
WATCH_SECONDS = 1.0
STANDBY_SECONDS = ANSWER_SECONDS
"""Commits that have waited for a standby for so long have been answered with 503."""
BROKER_PAUSE_SECONDS = 1.0
LIST_SIZE = 200
MAX_WAITING = 20_000

BrokerState = Literal["unknown", "reachable", "unreachable"]
"""Of a broker with an alarm, which takes no messages, only that it does not answer is seen: unreachable."""
_log = logging.getLogger(__name__)


class PublishesMessages(Protocol):
    """The part of the ledger's publisher that is used here."""

    def publish(self, messages: Sequence[Message]) -> list[str]: ...

    def close(self) -> None: ...


class Outbox:
    """A thread that publishes what it is offered, and notes what the broker confirmed, a little later.

    It promises nothing: whatever it drops, because the broker is away or too much
    waits, has no `published_at` in the ledger and is published by the relay.
    """

    def __init__(
        self,
        new_publisher: Callable[[], PublishesMessages],
        note_confirms: Callable[[Sequence[Confirm]], None],
        metrics: Metrics,
    ) -> None:
        self._new_publisher = new_publisher
        self._note_confirms = note_confirms
        self._metrics = metrics
        self._waiting: deque[Message] = deque()
        self._confirms = Confirms()
        self._changed = threading.Condition()
        self._is_open = False
        self._paused_until = 0.0
        self._thread = threading.Thread(target=self._run, name="outbox")
        self.broker: BrokerState = "unknown"

    def start(self) -> None:
        self._is_open = True
        self._thread.start()

    def stop(self) -> None:
        """Publish what waits, note what was confirmed, then end the thread."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        self._thread.join()

    def offer(self, messages: Sequence[Message]) -> None:
        """Hand over messages whose rows are committed. Never blocks."""
        with self._changed:
            if len(self._waiting) + len(messages) > MAX_WAITING:
                self._count("left_to_relay", len(messages))
                return
            self._waiting.extend(messages)
            self._changed.notify()

    def _run(self) -> None:
        publisher = self._new_publisher()
        while (messages := self._take()) is not None:
            if time.monotonic() >= self._paused_until:
                self._publish(publisher, messages)
            else:
                self._count("left_to_relay", len(messages))
            if self._confirms.seconds_left == 0.0:
                self._note()
        self._note()
        publisher.close()

    def _take(self) -> list[Message] | None:
        """What waits, none when something is to be noted first; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or not self._is_open, self._confirms.seconds_left
            )
            if not self._waiting and not self._is_open:
                return None
            count = min(LIST_SIZE, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _note(self) -> None:
        confirms = self._confirms.take()
        if not confirms:
            return
        try:
            self._note_confirms(confirms)
        except DATABASE_ERRORS as error:
            # The relay publishes the same ids again, which is harmless.
            _log.warning("cannot note %d steps as published: %s", len(confirms), error)
        except Exception:  # noqa: BLE001  the thread must outlive it, and the relay makes good
            _log.exception("confirms cannot be noted")

    def _publish(self, publisher: PublishesMessages, messages: Sequence[Message]) -> None:
        if not messages:
            return
        confirmed: list[str] = []
        try:
            confirmed = publisher.publish(messages)
            self.broker = "reachable"
            self._confirms.add(confirmed, messages)
        except Unavailable as error:
            self._pause(f"the broker does not answer: {error}")
        except Exception:  # noqa: BLE001  the thread must outlive it, and the relay makes good
            _log.exception("publishing failed in an unexpected way")
            self._pause("messages cannot be published")
        self._count("confirmed", len(confirmed))
        self._count("left_to_relay", len(messages) - len(confirmed))

    def _pause(self, reason: str) -> None:
        if self.broker != "unreachable":
            _log.warning("%s; logins are accepted and published later", reason)
        self.broker = "unreachable"
        self._paused_until = time.monotonic() + BROKER_PAUSE_SECONDS

    def _count(self, outcome: str, count: int) -> None:
        self._metrics.published.labels(outcome).inc(count)


@dataclass(frozen=True, slots=True)
class Measured:
    """Unpublished messages, the oldest one's age, and whether commits wait for a standby that is not there.

    unplanned: logins that were accepted without steps. is_flooded: more came than the pools take.
    """

    messages: int
    lag_seconds: float
    is_standby_missing: bool = False
    unplanned: int = 0
    is_flooded: bool = False


class Backlog:
    """Counts the ledger's unpublished messages once a second, and looks whether commits can end.

    While the database is away, the last count stands, and a metric says that it is away.
    """

    def __init__(self, measure: Callable[[int], Measured], metrics: Metrics) -> None:
        self._measure = measure
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backlog")
        self.messages = 0
        self.unplanned = 0
        self.is_flooded = False
        self._missing_since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def is_full(self) -> bool:
        return self.awaited is not None

    @property
    def awaited(self) -> str | None:
        """Whom too many accepted logins wait for; None: more can be accepted."""
        if self.messages > MAX_UNPUBLISHED:
            return "the broker"
        return "the pools" if self.unplanned > MAX_UNPLANNED else None

    @property
    def is_standby_missing(self) -> bool:
        """For so long that logins are answered with 503: one that only restarts lets them wait."""
        since = self._missing_since
        return since is not None and time.monotonic() - since > STANDBY_SECONDS

    def _run(self) -> None:
        while True:
            self._metrics.database_reachable.set(self._look())
            if self._stopping.wait(WATCH_SECONDS):
                return

    def _look(self) -> bool:
        try:
            measured = self._measure(MAX_UNPUBLISHED + 1)
        except DATABASE_ERRORS as error:
            _log.debug("cannot measure the outbox: %s", error)
            return False
        except Exception:  # noqa: BLE001  the thread must outlive it
            _log.exception("cannot measure the outbox")
            return False
        self.messages, self.unplanned = measured.messages, measured.unplanned
        self.is_flooded = measured.is_flooded
        if not measured.is_standby_missing:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = time.monotonic()
        self._metrics.outbox_messages.set(self.messages)
        self._metrics.outbox_lag.set(measured.lag_seconds)
        self._metrics.note_unplanned(self.unplanned)
        return True
