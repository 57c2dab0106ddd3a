"""Celery's request of a delivered message, for steps that something may wait for."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks
from celery.worker.state import task_ready

from services.domain.outcome import Failed
from services.ledger.dead_canvas import generation_of
from services.runner.delivery import Delivery
from services.runner.giving_up import Expired, Withdrawn

logger = logging.getLogger(__name__)


class StepRequest(Request):
    """Celery's own but for three things.

    A revoked or expired step fails as any other does: error callbacks, joins
    and the rest of the chain hear of it, and its message is dead-lettered.
    Celery's stores a state and acks, and what comes behind waits for ever. A
    step that runs is not terminated: its thread cannot be killed, its time limit
    ends it. And a replay ends what was heard before it.
    """

    _app: Any

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

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        self._already_revoked = True
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
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
