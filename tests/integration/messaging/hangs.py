"""The canvases that Celery ends in silence, by what stops and where; the same for both workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from celery import Celery, chain, chord
from celery.canvas import Signature

STOPS = ("ignores", "unregistered", "expires", "revoked")
"""What the step in question does: raises Ignore; is in no worker; is too late; is unwanted.

`make` also knows "fails", which Celery does not keep silent about.
"""

PLACES = ("header", "chain in a header", "chain")

SILENT_IN_CELERY = frozenset(
    {
        ("header", "ignores"),
        ("header", "unregistered"),
        ("chain in a header", "expires"),
        ("chain in a header", "revoked"),
        ("chain in a header", "ignores"),
        ("chain", "expires"),
        ("chain", "revoked"),
        ("chain", "unregistered"),
    }
)
"""research/reliability.md 2.1, with revoked beside expired."""


@dataclass(frozen=True)
class Hang:
    """A canvas of steps with known ids. `stopped` is the step in question, `last` the canvas's end."""

    canvas: Signature
    stopped: str
    last: str
    tag: str
    before: tuple[str, ...]

    @property
    def blamed(self) -> str:
        """The step whose id the error callback gets: the failed one, or the body that will not run."""
        return self.stopped if "body" not in self.last else self.last


def make(app: Celery, place: str, stop: str) -> Hang:
    """A canvas with one error callback, by names alone: the sender need not know the tasks."""
    mark = uuid4().hex[:8]
    ids: list[str] = []

    def sign(task: str, name: str) -> Any:
        signature: Any = app.signature(task, args=(f"{name}-{mark}",), immutable=True)
        ids.append(f"{name}-{mark}")
        return signature.set(task_id=ids[-1])

    first, middle, end = (sign("hand.say", name) for name in ("first", "middle", "end"))
    beside = sign("hand.say", "beside")
    if stop == "ignores":
        middle.task = "hand.ignore"
    elif stop == "unregistered":
        middle.task = "hand.in_no_worker"
    elif stop == "fails":
        middle.task = "hand.fail"
    elif stop == "expires":
        middle.set(expires=0)
    tag = f"tag-{mark}"
    on_error = app.signature("hand.on_error", args=(tag,))
    if place == "chain":
        canvas = chain(first, middle, end, app=app).on_error(on_error)
        return Hang(canvas, f"middle-{mark}", f"end-{mark}", tag, (f"first-{mark}",))
    body = app.signature("hand.body", args=(f"body-{mark}",)).set(task_id=f"body-{mark}")
    body.on_error(on_error)
    member = middle if place == "header" else chain(first, middle, end, app=app)
    before = (f"beside-{mark}",) if place == "header" else (f"first-{mark}", f"beside-{mark}")
    canvas = chord([beside, member], body, app=app)
    return Hang(canvas, f"middle-{mark}", f"body-{mark}", tag, before)
