"""How pools declare steps: a handler over a list, or one call at a time with others in flight."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from celery import Celery, Task

from services.domain.errors import ConfigurationError, Conflict, Unavailable
from services.domain.outcome import Done, Failed, Outcome
from services.domain.retry import RetryIn, RetryPolicy, decide
from services.ledger.unit import active_unit
from services.runner.delivery import single_value


@dataclass(slots=True)
class Running:
    """What the executor has prepared for the steps it runs in this context."""

    transaction: Any
    outcomes: dict[str, Outcome] = field(default_factory=dict)


running: ContextVar[Running | None] = ContextVar("doorbell_running", default=None)


def checked(answer: object) -> Outcome:
    """What a handler has answered.

    Raises:
        TypeError: it is no outcome.
    """
    if isinstance(answer, Done | Failed):
        return answer
    raise TypeError(f"a handler answers with Done or Failed, not {type(answer).__name__}")


def _awaited(answer: Any) -> Any:
    """The answer, also of a coroutine that nobody else has started: this thread has no loop."""
    return asyncio.run(answer) if inspect.iscoroutine(answer) else answer


class StepTask(Task[Any, Any]):
    """Base of every task: acks late, keeps what fails for good in the dead-letter queue."""

    abstract = True
    acks_late = True
    acks_on_failure = False
    acks_on_timeout = False
    reject_on_worker_lost = True
    mandatory = True
    Request = "services.runner.request:StepRequest"

    def on_replace(self, sig: Any) -> Any:
        """Celery's hook: tell the unit that the step does not end here."""
        unit = active_unit()
        if unit is not None:
            unit.is_replaced = True
        return super().on_replace(sig)


def check_bases(tasks: Iterable[Any]) -> None:
    """Check that each task has the base that the runner counts on.

    One without it that replaces itself would end its canvas without a word.

    Raises:
        ConfigurationError: one line for every task that has another base.
    """
    problems = [
        f"task {task.name}: its base is to be derived from services.runner.task.StepTask"
        for task in sorted(tasks, key=lambda task: str(task.name))
        if not isinstance(task, StepTask)
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))


class HandlerTask(StepTask):
    """A step whose work is a handler's; the runner calls the handler, this maps its outcome to Celery."""

    abstract = True
    max_retries = None  # the policy holds the limit
    policy: RetryPolicy
    exhausted: Callable[[Any], Outcome] | None = None

    def deliver(self, notice_id: str, queue: str | None) -> None:
        """Start what follows a notice that was recorded; the app knows the canvas of it."""
        app: Any = self.app
        app.deliver(notice_id, queue)

    def answer(self, value: Any) -> Outcome:
        """Call the handler for one value in the running transaction (celery.map and starmap do)."""
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Return the handler's result, retry by the policy, or raise its error."""
        value = single_value(args, kwargs)
        prepared = running.get()
        outcome = prepared.outcomes.get(str(self.request.id)) if prepared else None
        if outcome is None:
            outcome = self.answer(value)
        if isinstance(outcome, Failed) and not isinstance(outcome.error, Conflict):
            outcome = self._give_up_or_retry(value, outcome)
        if isinstance(outcome, Failed):
            return {"conflict": str(outcome.error)}
        for notice in outcome.notices:
            self.deliver(notice, outcome.onto)
        unit = active_unit()
        if unit is not None:
            unit.effects += outcome.effects
            if outcome.has_many_notices:
                unit.lone += [message.step_id for message in unit.messages]
        return dict(outcome.result)

    def _give_up_or_retry(self, value: Any, outcome: Failed) -> Done:
        jitter = random.random()  # spreads retries, guards nothing
        decision = decide(outcome.error, self.request.retries, self.policy, jitter)
        if isinstance(decision, RetryIn):
            raise self.retry(exc=outcome.error, countdown=decision.seconds)
        # Only what is outside may be answered for; a bug or a lost database is no verdict.
        if self.exhausted is not None and isinstance(outcome.error, Unavailable):
            last = self.exhausted(value)
            if isinstance(last, Done):
                return last
        raise outcome.error


class BatchTask(HandlerTask):
    """One handler call and one transaction for a list of messages."""

    abstract = True
    many: Callable[[Sequence[Any], Any], Sequence[Outcome]]

    def answer(self, value: Any) -> Outcome:
        prepared = running.get()
        if prepared is None:
            raise RuntimeError(f"{self.name} runs in a worker only: it needs a transaction")
        return checked(self.many([value], prepared.transaction)[0])


class IoTask(HandlerTask):
    """One call at a time, with many in flight; a coroutine or a plain function, no transaction held.

    at_once: calls of this task that a process has in flight at most; None: as many as the pool holds.
    """

    abstract = True
    at_once: int | None = None
    call: Callable[[Any], Any]

    def answer(self, value: Any) -> Outcome:
        return checked(_awaited(self.call(value)))


class IoListTask(HandlerTask):
    """One call for a list of messages, with other calls in flight; a coroutine or a plain function."""

    abstract = True
    call: Callable[[Sequence[Any]], Any]

    def answer(self, value: Any) -> Outcome:
        return checked(_awaited(self.call([value]))[0])


class BatchHandler(Protocol):
    def __call__(self, values: Sequence[Any], tx: Any, /) -> Sequence[Outcome]: ...


class Steps:
    """Registers the steps of pools with a Celery app."""

    def __init__(self, app: Celery, policy_of: Callable[[str], RetryPolicy]) -> None:
        self._app = app
        self._policy_of = policy_of

    def batch(self, name: str) -> Callable[[BatchHandler], StepTask]:
        """Declare a step whose handler takes a list of values and the transaction."""
        return lambda handler: self._register(name, BatchTask, handler, {"many": handler})

    def io(
        self,
        name: str,
        exhausted: Callable[[Any], Outcome] | None = None,
        at_once: int | None = None,
    ) -> Callable[[Callable[[Any], Any]], StepTask]:
        """Declare a step that calls outside; `exhausted` answers when the retries are used up.

        at_once: see `IoTask`; for what is outside and takes few connections.
        """
        return self._io(name, IoTask, exhausted, {"at_once": at_once})

    def io_list(
        self, name: str, exhausted: Callable[[Any], Outcome] | None = None
    ) -> Callable[[Callable[[Sequence[Any]], Any]], StepTask]:
        """Declare a step whose calls outside take lists of values, and answer with an outcome for each."""
        return self._io(name, IoListTask, exhausted)

    def _io(
        self,
        name: str,
        base: type[HandlerTask],
        exhausted: Callable[[Any], Outcome] | None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> Callable[[Callable[[Any], Any]], StepTask]:
        more = {"exhausted": staticmethod(exhausted)} if exhausted else {}
        return lambda handler: self._register(
            name, base, handler, {"call": handler}, {**options, **more}
        )

    def _register(
        self,
        name: str,
        base: type[HandlerTask],
        handler: Any,
        functions: dict[str, Any],
        more: dict[str, Any] | None = None,
    ) -> StepTask:
        attributes = {
            "name": name,
            "abstract": False,
            "policy": self._policy_of(name),
            "__doc__": handler.__doc__,
            "__module__": handler.__module__,
            **{key: staticmethod(function) for key, function in functions.items()},
            **(more or {}),
        }
        task: StepTask = type(handler.__name__, (base,), attributes)()
        self._app.register_task(task)
        return task
