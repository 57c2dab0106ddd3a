"""Calls the handlers of a list of steps inside the list's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import psycopg
from celery import Celery
from psycopg import Connection

from services.domain.outcome import Done, Failed, Outcome
from services.runner.delivery import Delivery
from services.runner.failpoints import Failpoints
from services.runner.giving_up import Ignored, Untraceable
from services.runner.task import BatchTask, Running, checked, running
from services.runner.tracing import Traced, error_of, fail, trace


class HandlerCalls:
    """transaction: makes of a connection what handlers are given.

    begin: called when the time of these steps begins, which is that of their limits.
    """

    def __init__(
        self,
        app: Celery,
        transaction: Callable[[Connection[Any]], Any],
        failpoints: Failpoints,
        begin: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._app = app
        self._transaction = transaction
        self._failpoints = failpoints
        self._begin = begin

    def execute(self, connection: Connection[Any], run: Sequence[Delivery]) -> list[Traced]:
        """Call the handlers of these steps, of each task with one list, and trace every step.

        Nothing is committed. What one step's tracing writes is taken back when it fails.

        Raises:
            Exception: a handler's own; or why a step has failed of which its handler says
                that it is done: what the handler has written of it is to be taken back, with the list.
        """
        prepared = Running(self._transaction(connection))
        token = running.set(prepared)
        try:
            self._call_handlers(run, prepared)
            for delivery in run:
                self._failpoints.hit("after_handler", delivery.task)
            traced = [self._trace(connection, delivery, prepared) for delivery in run]
            if any(delivery.id not in prepared.outcomes for delivery in run):
                # What follows, up to the commit, is for them all again.
                self._begin(run)
            return traced
        finally:
            running.reset(token)

    def _call_handlers(self, run: Sequence[Delivery], prepared: Running) -> None:
        lists: dict[str, list[Delivery]] = {}
        for delivery in run:
            if delivery.outcome is not None:
                prepared.outcomes[delivery.id] = delivery.outcome
            elif isinstance(self._app.tasks[delivery.task], BatchTask):
                lists.setdefault(delivery.task, []).append(delivery)
        for name, members in lists.items():
            handled: Any = self._app.tasks[name]
            began = monotonic()
            outcomes: Sequence[Outcome] = handled.many(
                [member.value() for member in members], prepared.transaction
            )
            prepared.outcomes |= {
                member.id: checked(outcome)
                for member, outcome in zip(members, outcomes, strict=True)
            }
            for member in members:
                member.run_seconds = monotonic() - began

    def _trace(self, connection: Connection[Any], delivery: Delivery, prepared: Running) -> Traced:
        outcome = delivery.outcome
        if isinstance(outcome, Failed) and isinstance(outcome.error, Untraceable):
            return fail(self._app, delivery, outcome.error)
        if delivery.id in prepared.outcomes:
            return self._trace_answered(delivery, prepared.outcomes[delivery.id])
        # What is run for itself has its limits for itself too.
        self._begin([delivery])
        with connection.transaction() as savepoint:
            traced = self._ended(delivery, trace(self._app, delivery))
            if traced.state in ("failed", "dead"):
                raise psycopg.Rollback(savepoint)
        return traced

    def _trace_answered(self, delivery: Delivery, outcome: Outcome) -> Traced:
        if isinstance(outcome, Failed):
            # What is tried again is what was sent, whatever its handler has made of it.
            delivery.take_payload()
        traced = self._ended(delivery, trace(self._app, delivery))
        has_written = isinstance(outcome, Done) and delivery.outcome is None
        if has_written and traced.state in ("failed", "dead"):
            raise error_of(traced)
        return traced

    def _ended(self, delivery: Delivery, traced: Traced) -> Traced:
        """The step as traced; but what a canvas waits for may not end without a word."""
        if traced.outcome == "rejected":
            return fail(self._app, delivery, Ignored("the task rejected its message"))
        if traced.outcome == "ignored" and delivery.is_in_canvas:
            return fail(self._app, delivery, Ignored("the task raised Ignore inside a canvas"))
        return traced
