"""The thread that publishes first messages, and the bound on what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg
import pytest

from services.domain.errors import Unavailable
from services.gateway import outbox
from services.gateway.metrics import Metrics
from services.gateway.outbox import Backlog, Measured, Outbox
from services.ledger.confirms import NOTED_AFTER_SECONDS, Confirm
from services.ledger.message import Message


def message(step_id: str) -> Message:
    return Message(step_id, "device_checks.check_device", "x", "q", {}, {}, "[]")


class Broker:
    """Confirms what it is given, or does not answer."""

    def __init__(self) -> None:
        self.is_up = True
        self.calls = 0
        self.is_closed = False

    def publish(self, messages: Sequence[Message]) -> list[str]:
        self.calls += 1
        if not self.is_up:
            raise Unavailable("no broker")
        return [each.step_id for each in messages]

    def close(self) -> None:
        self.is_closed = True


def wait_until(is_met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def noting(step_ids: list[str]) -> Callable[[Sequence[Confirm]], None]:
    """Keeps the ids of the steps that are noted."""
    return lambda confirms: step_ids.extend(step_id for step_id, _, _ in confirms)


def count(metrics: Metrics, outcome: str) -> float:
    labels = {"outcome": outcome}
    return metrics.registry.get_sample_value("doorbell_gateway_published_total", labels) or 0


def test_confirmed_messages_are_marked() -> None:
    """What the broker confirmed is marked, also when the process is told to stop meanwhile."""
    marked: list[str] = []
    box = Outbox(Broker, noting(marked), Metrics())
    box.start()
    box.offer([message(str(n)) for n in range(500)])
    box.stop()
    assert marked == [str(n) for n in range(500)]
    assert box.broker == "reachable"


def test_confirms_are_noted_together_and_soon() -> None:
    """Not one transaction for each login; and none waits for the next login."""
    notes: list[list[str]] = []
    box = Outbox(Broker, lambda them: notes.append([it[0] for it in them]), Metrics())
    box.start()
    began_at = time.monotonic()
    for number in range(20):
        box.offer([message(str(number))])
    wait_until(lambda: len(notes) == 1)
    took = time.monotonic() - began_at
    box.stop()
    assert notes == [[str(number) for number in range(20)]]
    assert took >= NOTED_AFTER_SECONDS


def test_a_database_that_is_away_costs_notes_alone() -> None:
    """The next messages go out all the same."""
    broker, metrics = Broker(), Metrics()

    def fail(_: Sequence[Confirm]) -> None:
        raise psycopg.OperationalError("gone")

    box = Outbox(lambda: broker, fail, metrics)
    box.start()
    for number in range(2):
        box.offer([message(str(number))])
        wait_until(lambda: count(metrics, "confirmed") == number + 1)  # noqa: B023
        wait_until(lambda: box._confirms.seconds_left is None)
    box.stop()
    assert box.broker == "reachable"


def test_while_the_broker_is_away_messages_are_left_to_the_relay() -> None:
    """An absent broker costs one attempt a second, not one for each login."""
    broker, marked, metrics = Broker(), list[str](), Metrics()
    broker.is_up = False
    box = Outbox(lambda: broker, noting(marked), metrics)
    box.start()
    for number in range(50):
        box.offer([message(str(number))])
    wait_until(lambda: count(metrics, "left_to_relay") == 50)
    box.stop()
    assert broker.calls == 1
    assert broker.is_closed
    assert not marked
    assert box.broker == "unreachable"


def test_it_publishes_again_once_the_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to restart the gateway."""
    monkeypatch.setattr(outbox, "BROKER_PAUSE_SECONDS", 0.01)
    broker, marked, metrics = Broker(), list[str](), Metrics()
    broker.is_up = False
    box = Outbox(lambda: broker, noting(marked), metrics)
    box.start()
    box.offer([message("lost")])
    wait_until(lambda: box.broker == "unreachable")
    broker.is_up = True

    def is_published() -> bool:
        box.offer([message("found")])
        return "found" in marked

    wait_until(is_published)
    box.stop()
    assert "lost" not in marked


def test_a_full_outbox_drops_and_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting a login never waits for the broker."""
    monkeypatch.setattr(outbox, "MAX_WAITING", 10)
    metrics = Metrics()
    box = Outbox(Broker, noting([]), metrics)
    for number in range(25):
        box.offer([message(str(number))])
    assert count(metrics, "left_to_relay") == 15
    box.start()
    box.stop()
    assert count(metrics, "confirmed") == 10


def test_the_backlog_keeps_its_last_count_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database that is away does not open the gates of an overfull outbox."""
    monkeypatch.setattr(outbox, "WATCH_SECONDS", 0.001)
    answers = [Measured(outbox.MAX_UNPUBLISHED + 1, 7.0)]
    asked = 0

    def measure(limit: int) -> Measured:
        nonlocal asked
        asked += 1
        assert limit == outbox.MAX_UNPUBLISHED + 1
        if answers:
            return answers.pop()
        raise psycopg.OperationalError("gone")

    metrics = Metrics()
    backlog = Backlog(measure, metrics)
    backlog.start()
    wait_until(lambda: asked > 3)
    backlog.stop()
    assert backlog.is_full
    assert metrics.registry.get_sample_value("doorbell_outbox_lag_seconds") == 7.0
    assert metrics.registry.get_sample_value("doorbell_database_reachable") == 0


def test_the_metrics_say_whether_the_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert on it needs no login to be refused first."""
    monkeypatch.setattr(outbox, "WATCH_SECONDS", 0.001)
    metrics = Metrics()
    backlog = Backlog(lambda _: Measured(0, 0.0), metrics)
    backlog.start()
    wait_until(lambda: metrics.registry.get_sample_value("doorbell_database_reachable") == 1)
    backlog.stop()
