"""What follows a step: from a template it is Celery's own, but for the ids that are new each time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord, group, signals
from celery._state import _task_stack
from celery.canvas import Signature, maybe_signature

from routing.load import load
from services.canvas.login import login_workflow
from services.celery_app import DoorbellApp, make_app
from services.domain.errors import MessageTooLarge
from services.ledger import celery_amqp
from services.ledger.labels import label_of
from services.ledger.message import delay_of
from services.ledger.planning import plan
from services.ledger.unit import Unit
from services.runner.task import StepTask
from services.settings import Settings

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RESULTS = [
    {"workflow_id": str(uuid4()), "is_new": True, "name": "Zoë \u202e", "more": [1, None]},
    None,
    {},
    "'\"\\",
    "x" * 3000,
]


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


class Follow:
    """Lets a step end, as Celery's tracer does."""

    def __init__(self, app: DoorbellApp) -> None:
        self._app = app
        self._task = app.register_task(type("Ending", (StepTask,), {"name": f"ending-{uuid4()}"})())

    def __call__(self, followers: list[Any], result: Any) -> tuple[Unit, list[Any]]:
        """What is collected, and the step's children."""
        workflow, step = uuid4(), str(uuid4())
        unit = Unit(step_id=step, label=label_of(workflow, "0123456789abcdef"))
        # As they come in a message: fresh, and under ids of their own.
        signature, rest = json.loads(json.dumps([followers[-1], followers[:-1]]))
        follower: Any = maybe_signature(signature, app=self._app)
        with self.step(step) as request, unit.active():
            self._app.amqp._retry_publish(
                follower.apply_async,
                (result,),
                chain=rest,
                parent_id=step,
                root_id=str(workflow),
                priority=None,
            )
            return unit, [child.as_tuple() for child in request.children]

    @contextmanager
    def step(self, step: str) -> Iterator[Any]:
        _task_stack.push(self._task)
        self._task.push_request(id=step, args=(), kwargs={}, called_directly=False)
        try:
            yield self._task.request
        finally:
            self._task.pop_request()
            _task_stack.pop()


@pytest.fixture
def follow(app: DoorbellApp) -> Follow:
    """With nothing remembered."""
    del app.amqp
    return Follow(app)


def numbered(made: tuple[Unit, list[Any]]) -> Any:
    """All of it, with its ids numbered as they come."""
    numbers: dict[str, str] = {}
    unit, children = made
    text = json.dumps([asdict(unit), children], sort_keys=True)
    return json.loads(_ID.sub(lambda it: numbers.setdefault(it[0], f"id {len(numbers)}"), text))


def after_check(app: DoorbellApp) -> list[Any]:
    """What a login's first message says of what follows it."""
    (message,) = plan(app, login_workflow(app, UUID(int=uuid4().int))).messages
    followers: list[Any] = json.loads(message.body)[2]["chain"]
    return followers


def with_ids(signature: Signature) -> list[Any]:
    """As a message carries it: what is sent has its ids already."""
    signature.freeze()
    return [signature]


NOTIFY, SAVE, SCORE = (
    "notifications.notify_user",
    "db_writes.save_event",
    "external_api.score_login",
)


def canvases(app: DoorbellApp) -> dict[str, Any]:
    def step(name: str, *args: Any) -> Signature:
        return app.signature(name, args=args)

    return {
        "a login's": lambda: after_check(app),
        "a step": lambda: with_ids(step(SAVE)),
        "a step that takes no result": lambda: with_ids(
            step(NOTIFY, str(uuid4())).set(immutable=True)
        ),
        "a step with callbacks": lambda: with_ids(
            step(SAVE).on_error(step(SCORE)).set(link=[step(SAVE)])
        ),
        "a delayed step": lambda: with_ids(step(SAVE).set(countdown=30)),
        "a group": lambda: with_ids(group([step(NOTIFY, 1), step(SAVE)], app=app)),
        "a chord": lambda: with_ids(chord([step(NOTIFY), step(SAVE)], step(SCORE), app=app)),
        "a chord of chains": lambda: with_ids(
            chord([chain(step(NOTIFY), step(SAVE), app=app), step(SAVE)], step(SCORE), app=app)
        ),
    }


NAMES = [
    "a login's",
    "a step",
    "a step that takes no result",
    "a step with callbacks",
    "a delayed step",
    "a group",
    "a chord",
    "a chord of chains",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_celery_sends(app: DoorbellApp, follow: Follow, name: str) -> None:
    """Every message, header, join and child, for every kind of result."""
    make = canvases(app)[name]
    for result in RESULTS:
        del app.amqp  # Celery makes the first of its kind
        celerys = numbered(follow(make(), result))
        made = [numbered(follow(make(), result)) for _ in range(3)]
        assert made == [celerys] * 3


def test_celery_is_not_asked_again(
    app: DoorbellApp, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a kind is known, no signature is applied for it."""
    for _ in range(2):
        follow(after_check(app), {})
    made = after_check(app)
    asked: list[str] = []

    def apply_async(*_: Any, **__: Any) -> None:
        asked.append("again")

    for kind in ("chord", "group"):
        monkeypatch.setattr(Signature.TYPES[kind], "apply_async", apply_async)
    unit, _ = follow(made, {})
    assert (len(unit.messages), asked) == (2, [])


def test_ids_that_celery_makes_are_new_each_time(app: DoorbellApp, follow: Follow) -> None:
    """A group that has none yet gets others in each message."""

    def unfrozen() -> list[Any]:
        return [
            group(
                [app.signature("notifications.notify_user"), app.signature("db_writes.save_event")],
                app=app,
            )
        ]

    sent = [{message.step_id for message in follow(unfrozen(), 1)[0].messages} for _ in range(5)]
    assert len(set.union(*sent)) == 10


def test_who_listens_has_a_say_in_each_message(app: DoorbellApp, follow: Follow) -> None:
    """Libraries add headers by Celery's signal."""

    def add(headers: dict[str, Any], **_: Any) -> None:
        headers["traceparent"] = str(uuid4())

    for _ in range(2):
        follow(after_check(app), {})
    signals.before_task_publish.connect(add)
    try:
        unit, _ = follow(after_check(app), {})
    finally:
        signals.before_task_publish.disconnect(add)
    assert all("traceparent" in message.headers for message in unit.messages)


def test_a_callback_that_is_given_its_argument_keeps_it(app: DoorbellApp, follow: Follow) -> None:
    """As Celery's own chord and accumulate give a list of results: it stays one argument."""
    for _ in range(4):
        unit = Unit()
        with follow.step(str(uuid4())), unit.active():
            app.amqp._retry_publish(app.signature(SAVE).delay, [7])
        assert json.loads(unit.messages[0].body)[0] == [[7]]


@pytest.mark.parametrize("in_group", [False, True], ids=["alone", "in a group"])
def test_the_delay_until_a_moment_is_counted_each_time(
    app: DoorbellApp, follow: Follow, monkeypatch: pytest.MonkeyPatch, in_group: bool
) -> None:
    """An eta given as text is the same text in each message of its kind, and another delay."""
    start = datetime.now(UTC)
    now = start

    class Clock(datetime):
        @classmethod
        def now(cls, _tz: Any = None) -> datetime:  # type: ignore[override]
            return now

    monkeypatch.setattr(celery_amqp, "datetime", Clock)
    eta = (start + timedelta(hours=1)).isoformat()
    delays = []
    for minutes in (0, 0, 0, 30, 50):
        now = start + timedelta(minutes=minutes)
        save = app.signature(SAVE).set(eta=eta)
        unit, _ = follow(with_ids(group(save, app=app) if in_group else save), 1)
        delays.append(delay_of(unit.messages[0].routing_key))
    assert delays == [3600, 3600, 3600, 1800, 600]


def test_a_result_that_is_too_large_is_refused(app: DoorbellApp, follow: Follow) -> None:
    """As Celery's own message would be, whether its kind is known or not."""
    for _ in range(4):
        with pytest.raises(MessageTooLarge):
            follow(after_check(app), "x" * 70_000)
        follow(after_check(app), {})


def test_a_result_like_the_mark_is_only_a_result(app: DoorbellApp, follow: Follow) -> None:
    """Nobody's text takes another's place."""
    mark = "\x02result-of-this-step\x03"
    for _ in range(4):
        unit, _ = follow(
            with_ids(app.signature("notifications.notify_user", args=("kept",))), {"said": mark}
        )
        assert json.loads(unit.messages[0].body)[0] == [{"said": mark}, "kept"]
    for _ in range(4):
        unit, _ = follow(with_ids(app.signature("notifications.notify_user", args=(mark,))), 7)
        assert json.loads(unit.messages[0].body)[0] == [7, mark]
