"""Repairs what is stuck: steps whose message the broker lost, and workflows that nobody ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
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
from services.ledger.labels import inherited
from services.ledger.message import Message
from services.ledger.repair import Row
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
                logger.warning("its message was lost: publishing it again", extra=_about(row))
            lost, messages = self._give_up(
                connection, repair.take_lost(connection, passed, MOST_REPUBLISHED, limit)
            )
            probes = [
                self._probe(queue)
                for queue in repair.queues_to_probe(
                    connection, list(self._deadlines), probe_after_seconds, probe_every_seconds
                )
            ]
            messages += settle(connection, self._app, probes, {}).messages
            ended = self._end_open(connection)
            repair.forget_probes(connection)
        self._ledger.publish(messages)
        return Repaired(len(again), lost, len(probes), ended)

    def _give_up(
        self, connection: Connection[Any], rows: Sequence[Row]
    ) -> tuple[int, list[Message]]:
        """Fail lost steps; returns how many, and what is to be sent because of it."""
        if not rows:
            return 0, []
        for row in rows:
            logger.error("given up: %s", Lost(), extra=_about(row))
        try:
            with connection.transaction():
                return len(rows), self._settle(connection, rows, self._failed)
        except Exception:
            logger.exception("%d lost steps cannot be given up together: one by one", len(rows))
        counts, messages = zip(*(self._give_up_alone(connection, row) for row in rows), strict=True)
        return sum(counts), [message for each in messages for message in each]

    def _give_up_alone(self, connection: Connection[Any], row: Row) -> tuple[int, list[Message]]:
        """One that stops no other: without its callbacks and joins rather than not at all."""
        for fail in (self._failed, _failed_alone):
            try:
                with connection.transaction():
                    return 1, self._settle(connection, [row], fail)
            except Exception:
                logger.exception("cannot be given up by %s", fail.__name__, extra=_about(row))
        return 0, []

    def _settle(
        self, connection: Connection[Any], rows: Sequence[Row], fail: Callable[[Message], Unit]
    ) -> list[Message]:
        units = [fail(Message.from_json(row["message"])) for row in rows]
        ran = {row["id"]: Ran(_GIVEN_UP, row["workflow_id"]) for row in rows}
        return settle(connection, self._app, units, ran).messages

    def _failed(self, message: Message) -> Unit:
        """Fail a lost step as Celery would: error callbacks, joins and the rest of the chain hear of it."""
        error = Lost()
        unit = Unit(step_id=message.step_id, label=inherited(message.headers))
        request = {**message.headers, **message.embed(), "delivery_info": {}}
        try:
            with unit.active():
                self._app.backend.mark_as_failure(
                    message.step_id, error, request=Context(request, args=(), kwargs={})
                )
        except Exception:
            logger.exception("nobody could be told", extra={"step": message.step_id})
            return _failed_alone(message)
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
            logger.warning("ended without a word: %s", state, extra={"workflow": str(workflow_id)})
        return len(ended)


def _about(row: Row) -> dict[str, str | None]:
    """What the log says of a step."""
    workflow = row.get("workflow_id")
    return {
        "workflow": workflow and str(workflow),
        "step": row["id"],
        "task": row.get("task"),
        "queue": row.get("queue"),
    }


_GIVEN_UP = Execution("dead", None, None, "lost")


def _failed_alone(message: Message) -> Unit:
    """Fail a lost step itself; nobody hears of it."""
    return Unit(message.step_id, results={message.step_id: _nothing(message)})


def _nothing(message: Message) -> StoredResult:
    return StoredResult(
        message.step_id, states.FAILURE, None, None, None, message.task, None, None, message.retries
    )
