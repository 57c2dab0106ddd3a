"""Sends a canvas by way of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from celery.canvas import Signature
from psycopg import Connection

from services.ledger.database import Ledger
from services.ledger.settle import settle
from services.ledger.unit import Unit


def send(app: Celery, ledger: Ledger, canvas: Signature) -> None:
    """Commit the messages and joins of a canvas, then publish; what the broker does not take is the relay's.

    At least once after the commit, not at all when it fails: `psycopg.Error` is the caller's.
    """
    send_chosen(app, ledger, lambda _: [canvas])


def send_chosen(
    app: Celery, ledger: Ledger, choose: Callable[[Connection[Any]], Iterable[Signature]]
) -> int:
    """As `send`, for canvases that `choose` makes of what it takes in the same transaction; returns how many."""
    with ledger.connection() as connection:
        units = []
        for canvas in choose(connection):
            unit = Unit()
            with unit.active():
                canvas.apply_async()
            units.append(unit)
        messages = settle(connection, app, units, {}).messages
    ledger.publish(messages)
    return len(units)
