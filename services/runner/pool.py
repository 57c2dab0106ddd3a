"""The worker's pool: takes Celery's requests, runs them in the pool's style, acks through the hub."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from celery.concurrency.base import BasePool

from services.ledger import store
from services.observability.metrics import StepMetrics
from services.runner.batch import BatchStyle
from services.runner.delivery import Delivery
from services.runner.executor import Executor, Finished
from services.runner.failpoints import Failpoints
from services.runner.io import IoStyle
from services.runner.watchdog import EXIT_STATUS, Watchdog

logger = logging.getLogger(__name__)


BEAT_SECONDS = 3.0
"""Heartbeats of a stopping process; well below half of any sensible interval."""


LIFE_SECONDS = 1.0
"""Between heartbeats that a list's end sends, beside those of Celery's timer."""


class StepPool(BasePool):
    """Celery's pool interface (`worker_pool`) over the two styles.

    The app must carry `runner`: a `services.runner.config.RunnerConfig`.
    Requests are Celery's own: revocation, events, rate limits and ETA happen
    before `on_apply`, and acks, rejections and task events in the request's
    callbacks, which run on the consumer's loop only. A request counts as accepted when
    its work begins: what waits here can still be revoked, and monitors see it wait.
    The worker's time limits hold for steps that have none of their task or message.
    """

    signal_safe = False
    task_join_will_block = True
    body_can_be_buffer = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        config = self.app.runner
        self._soft_limit: float | None = self.options.get("soft_timeout")
        self._hard_limit: float | None = self.options.get("timeout")
        self._grace = config.grace_seconds
        self._failpoints = Failpoints(config.failpoints)
        self._metrics = StepMetrics(config.pool, self.app.tasks)
        self._stop = threading.Event()
        self.keep_alive: Callable[[], None] = lambda: None
        self.on_still_stopping: Callable[[], None] = lambda: None
        self._done: deque[Callable[[], object]] = deque()
        self.in_flight = 0
        self._moved_at = self._shown_at = monotonic()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

        def new_executor() -> Executor:
            return Executor(
                self.app,
                config.ledger,
                config.transaction,
                config.host,
                self._failpoints,
                self._hand_back,
                self._stop,
                self._metrics,
                config.spans,
                self._hand_begun,
            )

        if config.style == "batch":
            self._style: BatchStyle | IoStyle = BatchStyle(new_executor(), self.limit, _crash)
        else:
            tasks = self.app.tasks
            self._style = IoStyle(
                new_executor, self.limit, _crash, tasks.__getitem__, self._hand_begun
            )

        def note_hard_limit(step_id: str) -> None:
            with config.ledger.connect() as connection:
                store.note_hard_limit(connection, step_id, config.host)

        self._watchdog = Watchdog(lambda: self._style.executors, self._overdue, note_hard_limit)

    def on_start(self) -> None:
        self.app.step_pool = self
        self._style.start()
        self._watchdog.start()

    def register_with_event_loop(self, loop: Any) -> None:
        """Let the consumer's loop wake up for finished deliveries."""
        loop.add_reader(self._reader.fileno(), self._on_wake)
        self._watchdog.turn()
        loop.call_repeatedly(1.0, self._watchdog.turn)

    def on_disconnected(self) -> None:
        """The consumer's loop stands still until the broker is back: the watchdog must not mind."""
        self._watchdog.last_turn = None

    def on_apply(  # Celery's interface
        self,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> None:
        name, step_id, request, body, content_type, content_encoding = args
        delivery = Delivery(
            step_id,
            name,
            request,
            body,
            content_type,
            content_encoding,
            callback,
            soft_timeout or self._soft_limit,
            timeout or self._hard_limit,
            # The callback is a method of Celery's request, which has decoded its message.
            payload=callback.__self__.message.payload,
            on_begun=accept_callback,
        )
        self.take(delivery)

    def take(self, delivery: Delivery) -> None:
        """Run a delivery; or, when it has an outcome already, only settle it. Called on the consumer's loop."""
        if not self.in_flight:
            self._moved_at = monotonic()
        self.in_flight += 1
        self._metrics.received(delivery.task, self.in_flight)
        self._style.submit(delivery)

    def _overdue(self, margin_seconds: float) -> Sequence[str]:
        return self._style.overdue(margin_seconds) if isinstance(self._style, IoStyle) else ()

    @property
    def still_seconds(self) -> float:
        """For how long nothing of what is in flight has been answered."""
        return monotonic() - self._moved_at if self.in_flight else 0.0

    def trouble(self) -> str | None:
        """What stands still although the watchdog should have ended this process by now."""
        return self._watchdog.trouble()

    def on_close(self) -> None:
        """Finish what was received and ack it, while the connection is still open."""
        self._style.stop()
        deadline = monotonic() + self._grace
        beat_at = monotonic()
        while self.in_flight and monotonic() < deadline:
            self._drain()
            self._wait_readable(0.1)
            if monotonic() >= beat_at:
                # The consumer's loop turns no more, and without heartbeats the broker would hang up.
                self.keep_alive()
                self.on_still_stopping()
                beat_at = monotonic() + BEAT_SECONDS
        self._stop.set()
        self._style.join(1.0)
        self._drain()
        self._watchdog.stop()

    def on_stop(self) -> None:
        self._stop.set()
        self._watchdog.stop()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """A step on a thread cannot be killed alone: it runs to its limit."""
        logger.warning("a running step cannot be terminated; its time limit ends it")

    def _hand_begun(self, deliveries: Sequence[Delivery]) -> None:
        """From the thread that does it: the work of these deliveries begins now."""
        now = monotonic()
        begun = [each.on_begun for each in deliveries if each.on_begun is not None]
        for delivery in deliveries:
            # Once, however often it is begun again here.
            delivery.on_begun = None
        if begun:
            self._on_loop(lambda: [accepted(os.getpid(), now) for accepted in begun])

    def _hand_back(self, finished: Finished) -> None:
        """From an executor's thread: the delivery may be acked."""
        self._on_loop(lambda: self._answer(finished))

    def _on_loop(self, answer: Callable[[], object]) -> None:
        self._done.append(answer)
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            return  # the loop has wake-ups enough waiting

    def _answer(self, finished: Finished) -> None:
        delivery = finished.delivery
        self.in_flight -= 1
        self._moved_at = monotonic()
        seconds = monotonic() - delivery.received_at
        self._metrics.finished(delivery.task, finished.outcome, seconds, self.in_flight)
        self._failpoints.hit("before_ack", delivery.task)
        try:
            delivery.on_success(finished.answer)
        finally:
            if delivery.on_answered is not None:
                delivery.on_answered()

    def _on_wake(self) -> None:
        try:
            while self._reader.recv(4096):
                self._show_life()
        except BlockingIOError:
            self._drain()

    def _show_life(self) -> None:
        """A process that hardly gets a processor's time may be late with its heartbeats; it moves all the same."""
        if monotonic() - self._shown_at > LIFE_SECONDS:
            self._shown_at = monotonic()
            self.keep_alive()

    def _drain(self) -> None:
        while self._done:
            answer = self._done.popleft()
            try:
                answer()
            except Exception:
                # Its connection is gone, and with it the delivery: it comes again and finds its step done.
                logger.warning("a finished delivery could not be acked", exc_info=True)

    def _wait_readable(self, seconds: float) -> None:
        self._reader.settimeout(seconds)
        try:
            self._reader.recv(4096)
        except TimeoutError:
            return
        finally:
            self._reader.setblocking(False)

    def _get_info(self) -> dict[str, Any]:
        return {
            "implementation": "services.runner.pool:StepPool",
            "max-concurrency": self.limit,
            "processes": [os.getpid()],
            "max-tasks-per-child": None,
            "put-guarded-by-semaphore": False,
            "timeouts": (self._soft_limit or 0, self._hard_limit or 0),
        }


def _crash() -> None:
    os._exit(EXIT_STATUS)
