"""Logins of before are taken in: partitions of users side by side, inside each a starmap over slices in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from celery import Celery, chain, chord
from celery.canvas import Signature, xstarmap

from services.domain.slices import Partition, Slice


def importing(app: Celery, import_id: UUID, partitions: Sequence[Partition]) -> Signature:
    """Apply slices, have the outlier API learn them, go on with the next ones; then sum up.

    Immutable: no step needs another's result, and messages carry ids and ranges of users alone.
    """
    which = str(import_id)
    task: Any = app.signature("imports.apply_slice")

    def steps(slices: Sequence[Slice]) -> tuple[Signature, Signature]:
        learned = (which, slices[0].first, slices[-1].last)
        return (
            xstarmap(task, [(which, each.first, each.last) for each in slices], app=app),
            app.signature("external_api.learn_slices", args=learned, immutable=True),
        )

    header = [
        chain(*(step for slices in partition for step in steps(slices)), app=app)
        for partition in partitions
    ]
    body = app.signature("imports.sum_up", args=(which,), immutable=True)
    return chord(header, body, app=app)
