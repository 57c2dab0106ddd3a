"""Runs a module of the product with exactly one of its protections taken away: what a negative control needs.

`python -m tests.support.unprotected PROTECTION MODULE ARGUMENTS...`
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from typing import Any


def _confirms() -> None:
    """What was written to the socket counts as published."""
    from services.ledger.message import Message
    from services.ledger.publisher import Publisher

    publish = Publisher._publish

    def without_waiting(
        self: Publisher, messages: Sequence[Message], on_sent: Callable[[int], None] | None
    ) -> list[str]:
        publish(self, messages, on_sent)
        return [message.step_id for message in messages]

    def forget(self: Publisher, remaining: int) -> None:
        self._tags.clear()

    _replace(Publisher, "_publish", without_waiting)
    _replace(Publisher, "_await_confirms", forget)


def _late_acks() -> None:
    """A message is acked when its step begins, which is Celery's default."""
    from kombu.asynchronous import get_event_loop

    from services.runner.delivery import Delivery
    from services.runner.pool import StepPool
    from services.runner.task import StepTask

    take = StepPool.take

    def after_the_ack(self: StepPool, delivery: Delivery) -> None:
        # Celery leaves the ack to its loop's next turn, in no order: a step that began before
        # the turn after that could die unacked.
        soon = get_event_loop().call_soon
        soon(soon, take, self, delivery)

    _replace(StepTask, "acks_late", False)
    _replace(StepPool, "take", after_the_ack)


def _dedup() -> None:
    """A step that is done runs again when its message comes again."""
    from services.runner import claims
    from services.runner.delivery import Delivery
    from services.runner.sorting import Sorted

    def run_all(deliveries: Sequence[Delivery], rows: dict[str, Any]) -> object:
        return Sorted(run=list(deliveries))

    _replace(claims, "sort_deliveries", run_all)


def _relay() -> None:
    """What was committed and not published stays so."""
    from services.ledger import relay

    _replace(relay, "relay_once", lambda _: 0)


def _reconciler() -> None:
    """What the broker lost stays lost."""
    from services.ledger.reconciler import Reconciler, Repaired

    _replace(Reconciler, "sweep", lambda _: Repaired())


def _dead_letters() -> None:
    """The message of a step that failed is acked, which is Celery's default."""
    from services.runner.task import StepTask

    _replace(StepTask, "acks_on_failure", True)


PROTECTIONS: dict[str, Callable[[], None]] = {
    "confirms": _confirms,
    "late_acks": _late_acks,
    "dedup": _dedup,
    "relay": _relay,
    "reconciler": _reconciler,
    "dead_letters": _dead_letters,
}


def _replace(owner: object, name: str, value: object) -> None:
    """Put `value` in the place of something that is there: a renamed protection must not stay on unseen."""
    if not hasattr(owner, name):
        raise SystemExit(f"{owner} has no {name}: this launcher has to follow the product")
    setattr(owner, name, value)


def main() -> None:
    """Take the protection away and become the module."""
    protection, module, *arguments = sys.argv[1:]
    PROTECTIONS[protection]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
