"""The canary: a step in each queue and a join behind them, to see that work moves without asking users' work."""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery, chord
from celery.canvas import Signature


def canary(app: Celery, queues: Iterable[str]) -> Signature:
    """A probe for each of these queues side by side; when all have been done, it has returned."""
    probes = [app.signature("maintenance.probe", args=(queue,), queue=queue) for queue in queues]
    returned = app.signature("maintenance.canary_returned", args=(), immutable=True)
    return chord(probes, returned, app=app)
