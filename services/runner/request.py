"""Celery's request of a delivered message, for steps that something may wait for."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks
from celery.worker.state import task_ready

from services.domain.outcome import Failed
from services.ledger.dead_canvas import generation_of
from services.runner.delivery import Delivery
from services.runner.giving_up import Expired, Untraceable, Withdrawn

logger = logging.getLogger(__name__)


class StepRequest(Request):
    """Celery's own but for four things.

    A revoked or expired step fails as any other does: error callbacks, joins
    and the rest of the chain hear of it, and its message is dead-lettered.
    Celery's stores a state and acks, and what comes behind waits for ever. A
    step that runs is not terminated: its thread cannot be killed, its time limit
    ends it. A replay ends what was heard before it. And who listens to signals hears of what
    was given up without being run.
    """

    _app: Any
    _context: Any
    task: Any

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Say why a running step goes on."""
        if self.time_start:
            logger.warning("step %s runs already; its time limit ends it", self.id)

    def revoked(self) -> bool:
        """Celery's; but a replay takes back what was heard before it.

        This process still remembers the revoke that the replayed step failed by.
        One that is meant for the new generation is in the ledger too, and is
        obeyed by whoever locks the step's row.
        """
        if generation_of(self.request_dict) > 1:
            revoked_tasks.discard(self.id)
        return bool(super().revoked())

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """Celery's, with what the tracer, which has not run, would have told.

        And a task's MemoryError is that step's own. Celery raises it, for it comes from a
        process that is gone; here its message would never be answered.
        """
        error = exc_info.exception
        if isinstance(error, Withdrawn):
            self._release()
            self._tell_revoked(False, None, isinstance(error, Expired))
        elif isinstance(error, MemoryError):
            self._release()
            traceback = exc_info.traceback
            self.send_event("task-failed", exception=repr(error), traceback=traceback)
        else:
            super().on_failure(exc_info, send_failed_event, return_ok)
            if isinstance(error, Untraceable):
                self._tell_failed(error, exc_info)

    def _tell_failed(self, error: Exception, exc_info: Any) -> None:
        signals.task_failure.send(
            sender=self.task,
            task_id=self.id,
            exception=error,
            args=self.args,
            kwargs=self.kwargs,
            traceback=exc_info.traceback,
            einfo=exc_info,
        )

    def _tell_revoked(self, terminated: bool, signum: Any, expired: bool) -> None:
        said = {"terminated": terminated, "signum": signum, "expired": expired}
        self.send_event("task-revoked", **said)
        signals.task_revoked.send(sender=self.task, request=self._context, **said)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        self._already_revoked = True
        self._tell_revoked(terminated, signum, expired)
        error = Expired("its expires has passed") if expired else Withdrawn(reason)
        delivery = Delivery(
            self.id,
            self.type,
            self.request_dict,
            self.body,
            self.content_type,
            self.content_encoding,
            lambda _: self._release(),
            None,
            None,
            outcome=Failed(error),
        )
        self._app.step_pool.take(delivery)

    def _release(self) -> None:
        task_ready(self)
        self.reject(requeue=False)
