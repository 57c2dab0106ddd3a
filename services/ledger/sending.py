"""Sends a canvas by way of the ledger."""

from __future__ import annotations

from celery import Celery
from celery.canvas import Signature

from services.ledger.database import Ledger
from services.ledger.settle import settle
from services.ledger.unit import Unit


def send(app: Celery, ledger: Ledger, canvas: Signature) -> None:
    """Commit the messages and joins of a canvas, then publish; what the broker does not take is the relay's.

    At least once after the commit, not at all when it fails: `psycopg.Error` is the caller's.
    """
    unit = Unit()
    with unit.active():
        canvas.apply_async()
    with ledger.connection() as connection:
        messages = settle(connection, app, [unit], {}).messages
    ledger.publish(messages)
