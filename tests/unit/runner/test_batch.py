"""How a batch takes what has arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from services.runner import pace
from services.runner.batch import BatchStyle
from services.runner.delivery import Delivery
from services.runner.executor import Executor

SECONDS = 10


def delivery(name: str, redelivered: bool = False) -> Delivery:
    request: dict[str, Any] = {"delivery_info": {"redelivered": redelivered, "routing_key": "q"}}
    nothing = cast(Any, None)
    return Delivery(name, "a.b", request, "[]", None, None, nothing, None, None)


class Recorder:
    """Stands where the executor is, and what it sends with: notes lists, and holds the thread until it is let go."""

    def __init__(self) -> None:
        self.sending = self
        self.lists: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.held: list[Delivery] = []
        self.is_closed = False
        self.seconds_to_note: float | None = None
        self.looks = 0
        self.noted = threading.Event()

    def note_confirms(self, _busy_seconds: float) -> None:
        self.looks += 1
        if self.seconds_to_note is not None and self.looks > 1:
            self.seconds_to_note = None
            self.noted.set()

    def run(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        self.lists.append([each.id for each in deliveries])
        self.entered.release()
        assert self.go_on.acquire(timeout=SECONDS)
        if self.error is not None:
            raise self.error
        held, self.held = self.held, []
        return held

    def close(self) -> None:
        self.is_closed = True


class Crashes:
    def __init__(self) -> None:
        self.happened = threading.Event()

    def __call__(self) -> None:
        self.happened.set()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def crashes() -> Crashes:
    return Crashes()


@pytest.fixture
def style(recorder: Recorder, crashes: Crashes) -> Iterator[BatchStyle]:
    """A started style for lists of up to four."""
    made = BatchStyle(cast(Executor, recorder), 4, crashes)
    made.start()
    yield made
    made.stop()
    for _ in range(100):
        recorder.go_on.release()
    made.join(SECONDS)


def lists_of(
    recorder: Recorder, style: BatchStyle, arrivals: Sequence[Delivery]
) -> list[list[str]]:
    """The lists that are made of what arrives while another list runs."""
    style.submit(delivery("first"))
    assert recorder.entered.acquire(timeout=SECONDS)
    for each in arrivals:
        style.submit(each)
    style.stop()
    for _ in range(100):
        recorder.go_on.release()
    style.join(SECONDS)
    assert recorder.is_closed
    return recorder.lists[1:]


def test_a_lone_message_runs_at_once(style: BatchStyle, recorder: Recorder) -> None:
    """It does not wait for others to come."""
    style.submit(delivery("a"))
    assert recorder.entered.acquire(timeout=SECONDS)
    assert recorder.lists == [["a"]]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that grow for longer than any test lasts, or until they have three."""
    monkeypatch.setattr(pace, "LEAST_SECONDS", 60.0)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 60.0)
    monkeypatch.setattr(pace, "ENOUGH", 3)


def run_first_and_gather(style: BatchStyle, recorder: Recorder, name: str) -> None:
    """Run one list to its end, and have the thread take a message for the next."""
    style.submit(delivery("first"))
    recorder.go_on.release()
    assert recorder.entered.acquire(timeout=SECONDS)
    style.submit(delivery(name))
    deadline = time.monotonic() + SECONDS
    while not style._inbox.empty():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.usefixtures("patient")
def test_soon_after_a_list_the_next_one_grows(style: BatchStyle, recorder: Recorder) -> None:
    """Until there is enough in it."""
    run_first_and_gather(style, recorder, "a")
    style.submit(delivery("b"))
    style.submit(delivery("c"))
    assert recorder.entered.acquire(timeout=SECONDS)
    assert recorder.lists == [["first"], ["a", "b", "c"]]


def test_the_pace_is_told_how_long_lists_are(
    style: BatchStyle, recorder: Recorder, noted: list[int]
) -> None:
    """By it, a pool knows whether others are to be expected."""
    lists_of(recorder, style, [delivery(name) for name in "abc"])
    assert noted == [1, 3]


@pytest.mark.usefixtures("patient")
def test_a_stop_waits_for_nothing_more(style: BatchStyle, recorder: Recorder) -> None:
    """What has been gathered runs at once."""
    run_first_and_gather(style, recorder, "a")
    style.stop()
    assert recorder.entered.acquire(timeout=SECONDS)
    assert recorder.lists == [["first"], ["a"]]


def test_a_stop_waits_for_what_was_postponed(style: BatchStyle, recorder: Recorder) -> None:
    """It was submitted, and nobody else would answer for it."""
    recorder.held = [held := delivery("a")]
    style.submit(held)
    assert recorder.entered.acquire(timeout=SECONDS)
    style.stop()
    for _ in range(2):
        recorder.go_on.release()
    style.join(SECONDS)
    assert recorder.is_closed
    assert recorder.lists == [["a"], ["a"]]


def test_an_idle_thread_notes_confirms_in_time(style: BatchStyle, recorder: Recorder) -> None:
    """Right after the list it was too early; no other message has to come for it."""
    recorder.seconds_to_note = 0.01
    style.submit(delivery("a"))
    recorder.go_on.release()
    assert recorder.noted.wait(SECONDS)
    assert recorder.lists == [["a"]]


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        # What has come meanwhile is one list, in order.
        ("abc", [["a", "b", "c"]]),
        # No list is longer than the size.
        ("abcdef", [["a", "b", "c", "d"], ["e", "f"]]),
        # The same step twice is never one list: the second waits for the first's commit.
        ("aba", [["a", "b"], ["a"]]),
        ("aab", [["a"], ["a", "b"]]),
        ("abacb", [["a", "b"], ["a", "c", "b"]]),
        # A redelivered one (written large) runs alone, wherever it stands.
        ("Abc", [["A"], ["b", "c"]]),
        ("aBc", [["a"], ["B"], ["c"]]),
        ("abC", [["a", "b"], ["C"]]),
        ("ABc", [["A"], ["B"], ["c"]]),
        # And nothing overtakes.
        ("abAcdeB", [["a", "b"], ["A"], ["c", "d", "e"], ["B"]]),
        ("", []),
    ],
)
def test_lists(
    style: BatchStyle, recorder: Recorder, arrivals: str, expected: list[list[str]]
) -> None:
    """Order is kept, and what was submitted before the stop is run before the thread ends."""
    found = lists_of(recorder, style, [delivery(a, a.isupper()) for a in arrivals])
    assert found == expected


def test_a_thread_that_cannot_go_on_ends_the_process(
    style: BatchStyle, recorder: Recorder, crashes: Crashes
) -> None:
    """Otherwise its messages would be held for ever."""
    recorder.error = SystemExit(1)
    style.submit(delivery("a"))
    recorder.go_on.release()
    assert crashes.happened.wait(SECONDS)
    style.join(SECONDS)
    assert recorder.is_closed


def test_what_is_held_elsewhere_comes_again(style: BatchStyle, recorder: Recorder) -> None:
    """A step whose rows another process holds is run again, and holds up nothing that came after it."""
    held = delivery("a")
    recorder.held = [held]
    style.submit(held)
    assert recorder.entered.acquire(timeout=SECONDS)
    style.submit(delivery("b"))
    for _ in range(2):
        recorder.go_on.release()
        assert recorder.entered.acquire(timeout=SECONDS)
    assert recorder.lists == [["a"], ["b"], ["a"]]
