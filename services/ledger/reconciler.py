"""Repairs what is stuck: steps whose message the broker lost, and workflows that nobody ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import Celery, states
from celery.app.task import Context
from psycopg import Connection

from services.domain.errors import DoorbellError
from services.ledger import repair, store
from services.ledger.database import Ledger
from services.ledger.message import Message
from services.ledger.settle import Ran, settle
from services.ledger.store import Execution
from services.ledger.unit import StoredResult, Unit

logger = logging.getLogger(__name__)

PROBE_AFTER_SECONDS = 10.0
"""What waits for so long makes its queue worth a probe."""

PROBE_EVERY_SECONDS = 60.0

MOST_REPUBLISHED = 5
"""A step whose message was lost so often is dead: something eats its messages."""

REPUBLISHED_A_SWEEP = 500
_ENDED_A_SWEEP = 2_000
_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class Lost(DoorbellError):
    """The broker lost this step's message again and again."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What one sweep did: steps given to the relay, steps given up, probes sent, workflows ended."""

    republished: int = 0
    lost: int = 0
    probes: int = 0
    ended: int = 0


class Reconciler:
    """Sweeps over the ledger.

    How it tells a loss from a backlog: queues are first in, first out. It sends
    a probe, a step that does nothing, through a queue in which confirmed steps
    wait. Once the probe is done, everything confirmed before it has been
    delivered; what is not settled a deadline later has no message any more. In
    a backlog the probe waits with the rest, and nothing is republished.

    Idempotent: two at once are one (an advisory lock), and a copy too many of a
    message finds its step done.
    deadlines: for each queue, the seconds that a delivered step may take.
    """

    def __init__(self, app: Celery, ledger: Ledger, deadlines: Mapping[str, float]) -> None:
        self._app = app
        self._ledger = ledger
        self._deadlines = deadlines
        self._looked_until = _BEGINNING

    def sweep(
        self,
        probe_after_seconds: float = PROBE_AFTER_SECONDS,
        probe_every_seconds: float = PROBE_EVERY_SECONDS,
        limit: int = REPUBLISHED_A_SWEEP,
    ) -> Repaired:
        """Look once; returns what was repaired. At most `limit` steps are republished."""
        with self._ledger.connection() as connection:
            if not repair.become_reconciler(connection):
                return Repaired()
            passed = repair.passed(connection, self._deadlines)
            again = repair.republish_passed(connection, passed, MOST_REPUBLISHED, limit)
            for row in again:
                logger.warning(
                    "the message of step %s (%s) was lost in queue %s: publishing it again",
                    row["id"],
                    row["task"],
                    row["queue"],
                )
            lost = [
                (Message.from_json(row["message"]), Ran(_GIVEN_UP, row["workflow_id"]))
                for row in repair.take_lost(connection, passed, MOST_REPUBLISHED, limit)
            ]
            units = [self._failed(message) for message, _ in lost]
            ran = {message.step_id: note for message, note in lost}
            probes = [
                self._probe(queue)
                for queue in repair.queues_to_probe(
                    connection, list(self._deadlines), probe_after_seconds, probe_every_seconds
                )
            ]
            settled = settle(connection, self._app, [*units, *probes], ran)
            ended = self._end_open(connection)
            repair.forget_probes(connection)
        self._ledger.publish(settled.messages)
        return Repaired(len(again), len(lost), len(probes), ended)

    def _failed(self, message: Message) -> Unit:
        """Fail a lost step as Celery would: error callbacks, joins and the rest of the chain hear of it."""
        error = Lost()
        logger.error("step %s (%s) is given up: %s", message.step_id, message.task, error)
        unit = Unit(step_id=message.step_id)
        request = {**message.headers, **message.embed(), "delivery_info": {}}
        try:
            with unit.active():
                self._app.backend.mark_as_failure(
                    message.step_id, error, request=Context(request, args=(), kwargs={})
                )
        except Exception:
            # Without its callbacks rather than not at all: one step must not stop all repair.
            logger.exception("nobody could be told that step %s is lost", message.step_id)
            unit = Unit(step_id=message.step_id)
        unit.results.setdefault(message.step_id, _nothing(message))
        return unit

    def _probe(self, queue: str) -> Unit:
        unit = Unit()
        with unit.active():
            self._app.send_task("maintenance.probe", (queue,), queue=queue, ignore_result=True)
        return unit

    def _end_open(self, connection: Connection[Any]) -> int:
        """End those of the next open workflows of which every step has ended."""
        patience = max(self._deadlines.values(), default=0.0)
        rows = repair.open_workflows(connection, self._looked_until, patience, _ENDED_A_SWEEP)
        is_full = len(rows) == _ENDED_A_SWEEP
        self._looked_until = (rows[-1]["accepted_at"], rows[-1]["id"]) if is_full else _BEGINNING
        forgotten = repair.finished_but_open(connection, [row["id"] for row in rows])
        ended = store.finish_workflows(connection, forgotten)
        for workflow_id, state in ended:
            logger.warning("workflow %s had ended without a word: %s", workflow_id, state)
        return len(ended)


_GIVEN_UP = Execution("dead", None, None, "lost")


def _nothing(message: Message) -> StoredResult:
    return StoredResult(
        message.step_id, states.FAILURE, None, None, None, message.task, None, None, message.retries
    )
