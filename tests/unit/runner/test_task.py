"""A handler's outcome as Celery sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import Retry

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.domain.errors import Conflict, Refused, Unavailable
from services.domain.outcome import Done, Failed, Outcome
from services.domain.retry import RetryPolicy
from services.ledger.unit import Unit
from services.runner.delivery import single_value
from services.runner.task import Running, Steps, running
from services.settings import Settings

POLICY = RetryPolicy(limit=2, base_seconds=4, cap_seconds=60)
NAME = "db_writes.save_event"


@pytest.fixture
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


def batch_step(app: DoorbellApp, answer: Outcome) -> Any:
    @Steps(app, lambda _: POLICY).batch(NAME)
    def save(values: Sequence[Any], tx: Any) -> Sequence[Outcome]:
        """Saves."""
        return [answer for _ in values]

    return save


def io_step(
    app: DoorbellApp, answer: Outcome, exhausted: Callable[[Any], Outcome] | None = None
) -> Any:
    @Steps(app, lambda _: POLICY).io(NAME, exhausted)
    def call(value: Any) -> Outcome:
        """Calls."""
        return answer

    return call


@contextmanager
def request_of(task: Any, retries: int = 0) -> Iterator[Unit]:
    """The task as a worker calls it, with what it sends collected."""
    task.push_request(
        id="a", retries=retries, called_directly=False, args=["w"], kwargs={}, delivery_info={}
    )
    token = running.set(Running("the transaction"))
    unit = Unit("a")
    try:
        with unit.active():
            yield unit
    finally:
        running.reset(token)
        task.pop_request()


def test_done_is_the_result(app: DoorbellApp) -> None:
    """A plain dictionary, which travels to the next step."""
    task = batch_step(app, Done({"n": 1}))
    with request_of(task) as unit:
        assert task.run("w") == {"n": 1}
    assert unit.messages == []


def test_recorded_notices_are_delivered(app: DoorbellApp) -> None:
    """One delivery for each notice that was recorded for the first time."""
    task = batch_step(app, Done({}, notices=("n1", "n2")))
    with request_of(task) as unit:
        task.run("w")
    assert [m.task for m in unit.messages] == ["notifications.deliver_notice"] * 2
    assert {m.queue for m in unit.messages} == {"notifications"}


def test_notices_are_delivered_in_the_queue_that_they_are_to_wait_in(app: DoorbellApp) -> None:
    """What follows a delivery waits where it always does."""
    task = batch_step(app, Done({}, notices=("n1",), onto="bulk_notices"))
    with request_of(task) as unit:
        task.run("w")
    (message,) = unit.messages
    assert message.queue == "bulk_notices"
    embed = json.loads(message.body)[2]
    followers = [*embed["callbacks"], *embed["errbacks"]]
    assert [each["task"] for each in followers] == [
        "notifications.record_receipt",
        "notifications.try_next_channel",
    ]
    assert [each["options"].get("queue") for each in followers] == [None, None]


def test_a_conflict_is_success(app: DoorbellApp) -> None:
    """The effect is there already; the result says so."""
    task = batch_step(app, Failed(Conflict("there before")))
    with request_of(task):
        assert task.run("w") == {"conflict": "there before"}


def test_unavailable_is_a_retry_under_the_same_id(app: DoorbellApp) -> None:
    """Delayed by the policy, through the broker's own delays."""
    task = io_step(app, Failed(Unavailable("no answer")))
    with request_of(task) as unit, pytest.raises(Retry):
        task.run("w")
    (message,) = unit.messages
    assert (message.step_id, message.retries, message.queue) == ("a", 1, "db_writes")
    assert 2 <= message.delay_seconds <= 4


@pytest.mark.parametrize(
    ("error", "retries"),
    [
        # Refused is never tried again.
        (Refused("wrong"), 0),
        # A bug is not either.
        (ValueError("bug"), 0),
        # The retries are used up.
        (Unavailable("no answer"), 2),
    ],
)
def test_giving_up_raises_the_error(app: DoorbellApp, error: Exception, retries: int) -> None:
    """Celery then fails the step with its own words."""
    task = io_step(app, Failed(error))
    with request_of(task, retries) as unit, pytest.raises(type(error), match=str(error)):
        task.run("w")
    assert unit.messages == []


@pytest.mark.parametrize(
    ("error", "retries", "is_asked"),
    [
        # Only what was tried until the end has a last answer.
        (Unavailable("no answer"), 2, True),
        # Refused work has none.
        (Refused("wrong"), 2, False),
        # A bug is no answer of the API's: whoever was to be denied must not be let in for it.
        (ValueError("a bug"), 2, False),
    ],
)
def test_the_last_answer(app: DoorbellApp, error: Exception, retries: int, is_asked: bool) -> None:
    """An API that stays away gives an unscored verdict, not a dead step."""
    task = io_step(app, Failed(error), lambda value: Done({"unscored": value}))
    with request_of(task, retries):
        if is_asked:
            assert task.run("w") == {"unscored": "w"}
        else:
            with pytest.raises(type(error)):
                task.run("w")


def test_what_the_runner_prepared_is_not_asked_again(app: DoorbellApp) -> None:
    """The list's handler has answered already; the task hands its outcome on."""
    task = batch_step(app, Failed(ValueError("must not be called")))
    with request_of(task):
        prepared = running.get()
        assert prepared is not None
        prepared.outcomes["a"] = Done({"prepared": True})
        assert task.run("w") == {"prepared": True}


def test_a_batch_step_outside_a_worker(app: DoorbellApp) -> None:
    """Called directly it has no transaction, and says so."""
    with pytest.raises(RuntimeError, match="runs in a worker only"):
        batch_step(app, Done({})).run("w")


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        # One argument is the value, however it is given.
        (["w"], {}, "w"),
        ([], {"workflow_id": "w"}, "w"),
        # Several are all of them: an error callback gets the failed step's id first.
        (["step", "w"], {}, ("step", "w")),
        (["step"], {"workflow_id": "w"}, ("step", "w")),
        ([], {}, ()),
    ],
)
def test_a_handlers_value(args: list[str], kwargs: dict[str, str], expected: object) -> None:
    """What a handler gets of a task's arguments."""
    assert single_value(args, kwargs) == expected


def test_registered_tasks_keep_what_fails(app: DoorbellApp) -> None:
    """Late acks, failures to the dead letters, and the handler's own description."""
    task = batch_step(app, Done({}))
    assert (task.acks_late, task.acks_on_failure, task.acks_on_timeout) == (True, False, False)
    assert task.reject_on_worker_lost
    assert task.__doc__ == "Saves."
