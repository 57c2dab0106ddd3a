"""Runs a list of deliveries: one transaction, then their messages, then their acks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psycopg
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from psycopg import Connection

from services.domain.errors import Unavailable
from services.domain.outcome import Failed
from services.ledger import store
from services.ledger.database import Ledger, is_away
from services.ledger.message import Message
from services.ledger.settle import settle
from services.observability.metrics import StepMetrics, count_effects
from services.observability.spans import Spans
from services.runner.calling import HandlerCalls
from services.runner.claims import claim
from services.runner.delivery import Delivery
from services.runner.failpoints import Failpoints
from services.runner.giving_up import Untraceable
from services.runner.own_connection import OwnConnection
from services.runner.parking import park, parked_answer
from services.runner.reservations import reserve
from services.runner.sending import Sending
from services.runner.tracing import about, bare, ran, tell_log, tell_spans

logger = logging.getLogger(__name__)

_AWAY_PAUSE_SECONDS = 1.0

_LATE = (psycopg.errors.QueryCanceled, SoftTimeLimitExceeded)
"""What a step at its soft limit sees: in PostgreSQL the statement time-out, elsewhere Celery's exception."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A delivery that may be acked, with the answer for Celery's request."""

    delivery: Delivery
    answer: tuple[int, Any, float]
    outcome: str


@dataclass(frozen=True, slots=True)
class _Committed:
    messages: list[Message]
    finished: list[Finished]


class Executor:
    """Runs steps on a connection and a publisher of its own. Not thread-safe: one for each thread.

    What it guarantees is the order: results and next messages are committed
    first, published next, and only then are deliveries handed back for the ack.
    While PostgreSQL is away it waits, holding its deliveries unacked. A delivery
    whose rows another process holds (it was stopped, or cut off, in its
    transaction) is put off, and holds up no other.
    """

    def __init__(
        self,
        app: Celery,
        ledger: Ledger,
        transaction: Callable[[Connection[Any]], Any],
        host: str,
        failpoints: Failpoints,
        finish: Callable[[Finished], None],
        stop: threading.Event,
        metrics: StepMetrics,
        spans: Spans | None = None,
        on_begun: Callable[[Sequence[Delivery]], None] = lambda _: None,
    ) -> None:
        """on_begun: called with those that are about to be run, before their handlers."""
        self._app = app
        self._own = OwnConnection(ledger)
        self.sending = Sending(ledger, self._own, metrics)
        self._calls = HandlerCalls(app, transaction, failpoints, self._begin)
        self._host = host
        self._failpoints = failpoints
        self._finish = finish
        self._stop = stop
        self._metrics = metrics
        self._spans = spans
        self._on_begun = on_begun
        self.busy_since: float | None = None
        self.limits: tuple[float | None, float | None] = (None, None)
        self.thread_id: int | None = None
        self.step_ids: tuple[str, ...] = ()

    def run(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Run `deliveries`, no two of one step, and hand each back when it may be acked.

        Returns those whose rows another process holds, to be run again later.
        """
        while not self._stop.is_set():
            try:
                began = monotonic()
                committed = self._commit(deliveries)
                self._metrics.committed(len(deliveries), monotonic() - began)
                break
            except psycopg.errors.LockNotAvailable as error:
                self._own.rollback()
                return self._run_free(deliveries, error)
            except psycopg.Error as error:
                if not self._may_try_again(error):
                    return self._run_apart(deliveries, error)
            except Exception as error:  # noqa: BLE001  # a bug in a handler is that step's failure
                self._own.rollback()
                return self._run_apart(deliveries, error)
            finally:
                self.busy_since = None
        else:
            return []
        self._send(committed, deliveries)
        for finished in committed.finished:
            self._finish(finished)
        return []

    def admit(self, deliveries: Sequence[Delivery]) -> list[bool | Exception | None]:
        """Of each I/O step, no two the same: whether its handler is to be called, or called again.

        False: `run` answers for it; also while the process stops. None: another
        process is at the step, with a second copy of its message, or holds its
        row; ask again later. Waits while PostgreSQL is away.
        """
        while not self._stop.is_set():
            try:
                return [*self._admit(deliveries)]
            except psycopg.errors.LockNotAvailable:
                self._own.rollback()
                if len(deliveries) == 1:
                    return [None]
            except psycopg.Error as error:
                if self._may_try_again(error):
                    continue
                if len(deliveries) == 1:
                    return [error]
            return [answer for delivery in deliveries for answer in self.admit([delivery])]
        return [False] * len(deliveries)

    def _admit(self, deliveries: Sequence[Delivery]) -> list[bool | None]:
        sorted_ = claim(self._own, deliveries, self._metrics)[1]
        reserved = reserve(self._own.get(), sorted_.run)
        return [reserved.get(each.id, False) for each in deliveries]

    def close(self) -> None:
        """Note what was confirmed, and close the connection."""
        self.sending.close()
        self._own.drop()

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        self.thread_id = threading.get_ident()
        softs = [d.soft_limit for d in deliveries if d.soft_limit]
        hards = [d.hard_limit for d in deliveries if d.hard_limit]
        self.limits = (min(softs, default=None), min(hards, default=None))
        self.step_ids = tuple(d.id for d in deliveries)
        self.busy_since = monotonic()

    def _may_try_again(self, error: psycopg.Error) -> bool:
        """True for faults of the connection and lost races; False for what the statement itself did."""
        if (error.sqlstate or "").startswith("40"):
            self._own.rollback()
            return True
        if is_away(error):
            logger.warning("PostgreSQL is away, holding what is unacked: %s", error)
            self._own.drop()
            self.busy_since = None
            self._stop.wait(_AWAY_PAUSE_SECONDS)
            return True
        self._own.rollback()
        return False

    def _run_free(self, deliveries: Sequence[Delivery], error: Exception) -> list[Delivery]:
        """Run those whose rows nobody holds, one by one; returns the others."""
        for delivery in deliveries:
            delivery.is_put_off = True
        if len(deliveries) > 1:
            return self._run_each(deliveries)
        subject = about(deliveries[0])
        logger.warning("waits for rows held elsewhere: %s", error, extra=subject)
        return list(deliveries)

    def _run_each(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        for delivery in deliveries:
            # A handler may have changed what it was given.
            delivery.take_payload()
        return [held for delivery in deliveries for held in self.run([delivery])]

    def _run_apart(self, deliveries: Sequence[Delivery], error: Exception) -> list[Delivery]:
        """A list that blew up runs one by one, so that one item's failure is that item's alone."""
        if len(deliveries) > 1:
            return self._run_each(deliveries)
        delivery = deliveries[0]
        if isinstance(delivery.outcome, Failed):
            if isinstance(error, _LATE):
                raise error
            if delivery.is_alone:
                return self._dead_letter(delivery, error)
            if isinstance(delivery.outcome.error, Untraceable):
                logger.error("nobody can be told", exc_info=error, extra=about(delivery))
                delivery.is_alone = True
                return self.run([delivery])
            error = Untraceable(f"{type(error).__name__}: {error}")
        late = isinstance(error, _LATE)
        delivery.outcome = Failed(Unavailable(f"past its soft limit: {error}") if late else error)
        return self.run([delivery])

    def _dead_letter(self, delivery: Delivery, error: Exception) -> list[Delivery]:
        """Not even its failure can be written: the message is kept, and nobody else waits for it."""
        logger.error("dead-lettered without a result", exc_info=error, extra=about(delivery))
        info = bare(ExceptionInfo((type(error), error, error.__traceback__)))
        self._finish(Finished(delivery, (1, info, 0.0), "unsettled"))
        return []

    def _commit(self, deliveries: Sequence[Delivery]) -> _Committed:
        started_at = datetime.now(UTC)
        rows, sorted_ = claim(self._own, deliveries, self._metrics)
        self._begin(deliveries)
        connection = self._own.get()
        park(connection, self._app, sorted_)
        self._on_begun([each for each in sorted_.run if each.outcome is None])
        traced = self._calls.execute(connection, sorted_.run)
        notes = {t.delivery.id: ran(t, rows[t.delivery.id], self._host, started_at) for t in traced}
        settled = settle(connection, self._app, [t.unit for t in traced], notes)
        echoes = self._echoes(connection, sorted_.settled)
        if settled.fired:
            self._hit("after_join", deliveries)
        for each in traced:
            each.delivery.is_committing = True
        # Limits are for what runs. A commit may wait for a standby, and one that is given up may be done all the same.
        self.busy_since = None
        connection.commit()
        self._hit("after_commit", deliveries)
        count_effects(effect for each in traced for effect in each.unit.effects)
        tell_log(traced)
        if self._spans is not None:
            tell_spans(self._spans, traced, notes)
        if settled.fired:
            self._hit("before_body_publish", deliveries)
        finished = [Finished(t.delivery, t.answer, t.outcome) for t in traced]
        again = [self._answer_again(d, state, rows[d.id]) for d, state in sorted_.settled]
        parked = [Finished(d, parked_answer(), "parked") for d in sorted_.parked]
        return _Committed([*settled.messages, *echoes], [*finished, *again, *parked])

    def _echoes(
        self, connection: Connection[Any], settled: Sequence[tuple[Delivery, str]]
    ) -> list[Message]:
        """What settled steps' commits made ready and no publisher is known to have sent."""
        return store.unpublished_of(connection, [d.id for d, _ in settled]) if settled else []

    def _send(self, committed: _Committed, deliveries: Sequence[Delivery]) -> None:
        """Publish what is committed. Nothing that fails here takes a step back: the relay sends it."""

        def on_sent(index: int) -> None:
            if index == 0:
                self._hit("after_first_publish", deliveries)

        if not committed.messages:
            return
        watched = on_sent if self._failpoints.are_at("after_first_publish") else None
        if self.sending.publish(committed.messages, watched):
            self._hit("after_last_publish", deliveries)

    def _answer_again(self, delivery: Delivery, state: str, row: dict[str, Any]) -> Finished:
        # A second copy need not be dead-lettered: the one that ran was, or will be.
        is_copy = not (delivery.is_redelivered or delivery.is_committing)
        if state in ("failed", "dead") and not is_copy:
            error = self._app.backend.get_result(delivery.id)
            try:
                raise error if isinstance(error, Exception) else RuntimeError(str(error))
            except Exception:  # noqa: BLE001  # raised one line above, for its traceback
                return Finished(delivery, (1, bare(ExceptionInfo()), 0.0), "repeated")
        return Finished(delivery, (0, row["result"] or "", 0.0), "repeated")

    def _hit(self, point: str, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._failpoints.hit(point, delivery.task)
