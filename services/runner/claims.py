"""Locks the rows of a list's steps, to say what is to be done with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import psycopg
from psycopg import Connection

from services.domain.outcome import Failed
from services.ledger import store
from services.observability.metrics import StepMetrics
from services.runner.delivery import Delivery
from services.runner.giving_up import KilledTooOften, PastHardLimit
from services.runner.own_connection import OwnConnection
from services.runner.permits import take_permits
from services.runner.sorting import Sorted, sort_deliveries

MAX_STARTS = 5
"""How often a redelivered step is started again before it counts as what kills its process."""

Rows = dict[str, dict[str, Any]]


def claim(
    own: OwnConnection, deliveries: Sequence[Delivery], metrics: StepMetrics
) -> tuple[Rows, Sorted]:
    """The deliveries' rows, locked until the transaction ends, and what is to be done with each.

    Commits how often redelivered steps were started, so that a kill cannot take it back. Raises
    psycopg.errors.LockNotAvailable when another process holds one of the rows.
    """
    rows, sorted_ = _look(own, deliveries, metrics)
    if _count_starts(own.get(), sorted_.run):
        return _look(own, deliveries, metrics)
    return rows, sorted_


def _look(
    own: OwnConnection, deliveries: Sequence[Delivery], metrics: StepMetrics
) -> tuple[Rows, Sorted]:
    while True:
        own.limit(deliveries)
        connection = own.get()
        rows = _lock(connection, deliveries)
        if not take_permits(connection, deliveries, rows):
            sorted_ = sort_deliveries(deliveries, rows)
            _tell_waits(sorted_.run, rows, metrics)
            return rows, sorted_
        # It has rolled back, and with that the limits may be gone.
        own.forget_limits()


def _lock(connection: Connection[Any], deliveries: Sequence[Delivery]) -> Rows:
    try:
        return store.lock_steps(
            connection,
            [
                (
                    d.id,
                    d.task,
                    d.queue,
                    d.request.get("root_id"),
                    d.request.get("parent_id"),
                    d.retries,
                )
                for d in deliveries
            ],
            lambda step_id: next(d.shape() for d in deliveries if d.id == step_id),
        )
    except psycopg.errors.QueryCanceled as error:
        # Its limit is the step's, and no step runs yet.
        raise psycopg.errors.LockNotAvailable(str(error)) from error


def _tell_waits(
    deliveries: Sequence[Delivery], rows: Mapping[str, Mapping[str, Any]], metrics: StepMetrics
) -> None:
    """Measure how long steps were due before they came. What comes again was not waiting all that time."""
    for delivery in deliveries:
        waited = rows[delivery.id]["waited_seconds"]
        if waited is not None and not (delivery.is_wait_told or delivery.is_redelivered):
            delivery.is_wait_told = True
            held = monotonic() - delivery.received_at
            metrics.waited(delivery.task, max(float(waited) - held, 0.0))


def _count_starts(connection: Connection[Any], run: Sequence[Delivery]) -> bool:
    """Whether any was counted, which has ended the transaction."""
    again = [d for d in run if d.is_redelivered and d.outcome is None and not d.is_counted]
    for delivery in again:
        # Once for each delivery: a lost race, or PostgreSQL's absence, kills nobody.
        delivery.is_counted = True
        starts, is_late = store.count_redelivery(connection, delivery.id)
        if is_late:
            limit = delivery.hard_limit
            delivery.outcome = Failed(PastHardLimit(f"ran for more than {limit} seconds"))
        elif starts > MAX_STARTS:
            delivery.outcome = Failed(KilledTooOften(f"started {MAX_STARTS} times"))
    if again:
        connection.commit()
    return bool(again)
