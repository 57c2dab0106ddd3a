"""Events that were gathered outlast the connection on which they were to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.settings import Settings


@pytest.fixture
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    yield made
    made.close()


class Wire:
    """What a dispatcher publishes to."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, str]] = []

    def publish(self, event: Any, *, routing_key: str, **_: Any) -> None:
        self.sent.append((event, routing_key))


def dispatcher(app: DoorbellApp, wire: Wire) -> Any:
    made = app.events.Dispatcher(enabled=False, buffer_group=["task"])
    made.producer, made.enabled, made._closed = wire, True, False
    return made


def test_what_was_gathered_goes_out_on_the_next_connection(app: DoorbellApp) -> None:
    """Nobody had tried to send it before the last one was lost."""
    lost, found = Wire(), Wire()
    old, new = dispatcher(app, lost), dispatcher(app, found)
    old.send("task-failed", uuid="a", exception="x")
    assert not lost.sent

    new.extend_buffer(old)
    new.flush()
    [(events, routing_key)] = found.sent
    assert [event["uuid"] for event in events] == ["a"]
    assert routing_key == "task.multi"
