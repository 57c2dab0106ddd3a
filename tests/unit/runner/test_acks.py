"""What goes to the broker for messages that are acked and rejected in any order."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.message import Message

from services.runner.acks import Acks


class Broker:
    """The other end of a channel: knows what is unsettled, and refuses tags that it does not know."""

    no_ack_consumers = frozenset[str]()

    def __init__(self) -> None:
        self.unsettled: list[int] = []
        self.rejected: list[int] = []
        self.frames = 0
        self.is_gone = False

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self._settle(tag)
        if multiple:
            self.unsettled = [each for each in self.unsettled if each > tag]

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self._settle(tag)
        self.rejected.append(tag)

    def _settle(self, tag: int) -> None:
        if self.is_gone:
            raise ConnectionResetError
        self.frames += 1
        self.unsettled.remove(tag)


class Loop:
    """Gathers what is to be called at its next turn."""

    def __init__(self) -> None:
        self._ready: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._ready.append(callback)

    def turn(self) -> None:
        ready, self._ready = self._ready, []
        for callback in ready:
            callback()


@pytest.fixture
def end() -> SimpleNamespace:
    return make_end()


def make_end() -> SimpleNamespace:
    broker, loop = Broker(), Loop()
    return SimpleNamespace(
        broker=broker, loop=loop, acks=Acks(broker, loop.call_soon, (ConnectionError,))
    )


def deliver(end: SimpleNamespace, *tags: int) -> list[Any]:
    messages = [Message(delivery_tag=tag, channel=end.broker) for tag in tags]
    for message in messages:
        end.broker.unsettled.append(message.delivery_tag)
        end.acks.deliver(message)
    return messages


def test_a_list_is_acked_with_one_frame(end: SimpleNamespace) -> None:
    """In whatever order its steps are answered, and nothing before the loop turns."""
    first, second, third = deliver(end, 1, 2, 3)
    for message in (second, third, first):
        message.ack()
    assert end.broker.frames == 0
    end.loop.turn()
    assert (end.broker.frames, end.broker.unsettled) == (1, [])


def test_what_runs_stays_unacked(end: SimpleNamespace) -> None:
    """Those behind it are acked one by one; it is acked when it has ended, with all behind it that are then due."""
    first, second, third, fourth = deliver(end, 1, 2, 3, 4)
    second.ack()
    end.loop.turn()
    assert end.broker.unsettled == [1, 3, 4]
    third.reject()
    first.ack()
    fourth.ack()
    end.loop.turn()
    assert (end.broker.unsettled, end.broker.rejected) == ([], [3])


def test_a_message_is_settled_once(end: SimpleNamespace) -> None:
    """As kombu has it."""
    (message,) = deliver(end, 1)
    message.ack()
    with pytest.raises(Message.MessageStateError):
        message.reject()


def test_a_connection_that_is_gone_is_no_error(
    end: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on and connects anew; the broker gives the messages to somebody again."""
    messages = deliver(end, 1, 2, 3)
    end.broker.is_gone = True
    for message in messages:
        message.ack()
        end.loop.turn()
    assert caplog.text.count("acks could not be sent") == 1


@given(st.data())
def test_exactly_what_was_settled_is_settled(data: st.DataObject) -> None:
    """Messages come, are acked and rejected, and the loop turns, in any order."""
    end = make_end()
    open_messages: list[Any] = []
    settled: set[int] = set()
    delivered = 0
    for _ in range(data.draw(st.integers(0, 40))):
        act = data.draw(st.sampled_from(("deliver", "ack", "ack", "reject", "turn")))
        if act == "deliver":
            delivered += 1
            open_messages += deliver(end, delivered)
        elif act == "turn":
            end.loop.turn()
            assert set(end.broker.unsettled) == set(range(1, delivered + 1)) - settled
        elif open_messages:
            message = open_messages.pop(data.draw(st.integers(0, len(open_messages) - 1)))
            settled.add(message.delivery_tag)
            message.ack() if act == "ack" else message.reject()
    end.loop.turn()
    assert set(end.broker.unsettled) == set(range(1, delivered + 1)) - settled
