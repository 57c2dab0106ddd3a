"""One pass over what is given up: look, replay or drop list by list, publish, then clear the letters away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from services.domain.errors import Unavailable
from services.ledger import store
from services.ledger.database import Ledger
from services.ledger.dead_letters import DeadLetters, Letter
from services.ledger.dead_steps import Dead, Survey, in_batches, run
from services.ledger.message import Message
from services.ledger.replay import Acted, Operator, drop, problem_of_replay, replay

logger = logging.getLogger(__name__)

_BATCH = 200
_TRIES = 5
_UNWRITABLE = (psycopg.DataError, UnicodeError)
"""Text with a zero or half a character in it, which JSON and AMQP hold."""

_LOST_RACE = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(slots=True)
class Pass:
    """What became of each step. unsent: replayed steps whose messages are left to the relay."""

    acted: list[Acted] = field(default_factory=list)
    unsent: int = 0
    cleared: int = 0

    @property
    def done(self) -> list[Acted]:
        return [each for each in self.acted if each.problem is None]

    @property
    def problems(self) -> list[Acted]:
        return [each for each in self.acted if each.problem is not None]


def rehearse(connection: Connection[Any], survey: Survey, operator: Operator) -> Pass:
    """What `perform` would do at this moment; changes nothing."""
    result = Pass()
    for batch in in_batches(survey.dead, _BATCH):
        # Whatever happens to the locks and marks of this transaction, none of it is committed.
        if operator.action == "drop":
            result.acted += _rehearse_drop(connection, batch, operator)
        else:
            rows = {r["id"]: r for r in run(connection, "lock_dead", ids=[d.id for d in batch])}
            result.acted += [
                Acted(dead, problem_of_replay(dead, rows.get(dead.id), operator)) for dead in batch
            ]
        connection.rollback()
    return result


def _rehearse_drop(
    connection: Connection[Any], batch: Sequence[Dead], operator: Operator
) -> list[Acted]:
    try:
        return drop(connection, batch, operator)
    except _UNWRITABLE as error:
        connection.rollback()
        if len(batch) == 1:
            return [_unwritable(batch[0], error)]
    return [acted for dead in batch for acted in _rehearse_drop(connection, [dead], operator)]


def _unwritable(dead: Dead, error: Exception) -> Acted:
    return Acted(dead, f"PostgreSQL cannot hold what is in its message: {error}")


def perform(
    ledger: Ledger,
    connection: Connection[Any],
    letters: DeadLetters | None,
    survey: Survey,
    operator: Operator,
    per_second: float,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Pass:
    """Replay or drop what the survey found, at most so many steps a second.

    In each list the order is: commit, publish and confirm, acknowledge the
    letters. Whoever is killed in between leaves rows that the relay publishes,
    and letters that the next pass recognises as stale; so does the same pass
    done again.
    """
    result, begun = Pass(), set[UUID]()
    for batch in _paced(survey.dead, per_second):
        acted, messages = _commit_apart(connection, batch, operator, begun)
        confirmed = _publish(ledger, messages)
        result.unsent += len(messages) - len(confirmed)
        gone = [
            letter
            for each in acted
            if each.problem is None and (operator.action == "drop" or each.dead.id in confirmed)
            for letter in each.dead.letters
        ]
        _acknowledge(letters, gone)
        result.acted += acted
        on_batch(len(acted))
    _acknowledge(letters, survey.stale)
    result.cleared = len(survey.stale)
    return result


def _commit_apart(
    connection: Connection[Any], batch: Sequence[Dead], operator: Operator, begun: set[UUID]
) -> tuple[list[Acted], list[Message]]:
    """Commit a list; where one of it cannot be written, the others are, and that one is named."""
    before = set(begun)
    try:
        return _commit(connection, batch, operator, begun)
    except _UNWRITABLE as error:
        connection.rollback()
        begun.intersection_update(before)
        if len(batch) == 1:
            return [_unwritable(batch[0], error)], []
    acted: list[Acted] = []
    messages: list[Message] = []
    for dead in batch:
        more, due = _commit_apart(connection, [dead], operator, begun)
        acted += more
        messages += due
    return acted, messages


def _commit(
    connection: Connection[Any], batch: Sequence[Dead], operator: Operator, begun: set[UUID]
) -> tuple[list[Acted], list[Message]]:
    for attempt in range(1, _TRIES + 1):
        before = set(begun)
        try:
            messages: list[Message] = []
            if operator.action == "drop":
                acted = drop(connection, batch, operator)
            else:
                messages, acted = replay(connection, batch, operator, begun)
            connection.commit()
            return acted, messages
        except _LOST_RACE:
            # A race lost against a worker that ends a step of the same workflow.
            connection.rollback()
            begun.intersection_update(before)
            if attempt == _TRIES:
                raise
    raise AssertionError("the loop above returns or raises")


def _publish(ledger: Ledger, messages: Sequence[Message]) -> set[str]:
    try:
        confirmed = ledger.publisher().publish(messages)
    except Unavailable as error:
        logger.warning("%d messages are left to the relay: %s", len(messages), error)
        return set()
    with ledger.connection() as connection:
        store.mark_published(connection, confirmed, messages)
    return set(confirmed)


def _acknowledge(letters: DeadLetters | None, gone: Sequence[Letter]) -> None:
    if letters is None or not gone:
        return
    try:
        letters.acknowledge(gone)
    except Unavailable as error:
        logger.warning("%d dead letters stay until the next pass: %s", len(gone), error)


def _paced(dead: Sequence[Dead], per_second: float) -> Iterator[list[Dead]]:
    started, taken = time.monotonic(), 0
    for batch in in_batches(dead, max(1, min(_BATCH, int(per_second)))):
        time.sleep(max(0.0, taken / per_second - (time.monotonic() - started)))
        yield batch
        taken += len(batch)
