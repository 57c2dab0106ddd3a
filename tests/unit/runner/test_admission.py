"""How I/O steps are asked about together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from services.runner import pace
from services.runner.admission import Admission, Answer
from services.runner.delivery import Delivery
from tests.unit.runner.test_batch import SECONDS, delivery


class Ledger:
    """Notes its lists; the first one is answered when it is let go on."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.answers: dict[str, Answer] = {}
        self.error: Exception | None = None

    def ask(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        self.lists.append([each.id for each in deliveries])
        self.asked.set()
        assert self.go_on.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return [self.answers.get(each.id, True) for each in deliveries]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def admitted(ledger: Ledger, arrivals: str, size: int = 4) -> list[object]:
    """The answers to what arrives while the list before is asked about; those written large are redelivered."""

    async def run() -> list[object]:
        asking = Admission(ledger.ask, size)
        first = asyncio.create_task(asking.admit(delivery("first")))
        assert await asyncio.to_thread(ledger.asked.wait, SECONDS)
        others = [asyncio.create_task(asking.admit(delivery(a, a.isupper()))) for a in arrivals]
        await asyncio.sleep(0)
        ledger.go_on.set()
        async with asyncio.timeout(SECONDS):
            return [*await asyncio.gather(first, *others, return_exceptions=True)][1:]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("arrivals", "lists"),
    [
        ("abc", [["a", "b", "c"]]),
        ("abcdef", [["a", "b", "c", "d"], ["e", "f"]]),
        # An executor's list has each step once.
        ("aba", [["a", "b"], ["a"]]),
        # A redelivered one is asked about alone.
        ("aBc", [["a"], ["B"], ["c"]]),
        ("AB", [["A"], ["B"]]),
    ],
)
def test_lists(ledger: Ledger, arrivals: str, lists: list[list[str]]) -> None:
    """What has come meanwhile is one list, in order; and everybody has an answer."""
    assert admitted(ledger, arrivals) == [True] * len(arrivals)
    assert ledger.lists[1:] == lists


def test_each_has_its_own_answer(ledger: Ledger) -> None:
    """Not now, not at all, and an error are one delivery's alone."""
    error = ValueError("as asked")
    ledger.answers = {"a": None, "b": False, "c": error}
    assert admitted(ledger, "abcd") == [None, False, error, True]


def test_an_error_reaches_all_who_wait(ledger: Ledger) -> None:
    """Nobody waits for ever."""
    ledger.error = ValueError("as asked")
    assert admitted(ledger, "ab") == [ledger.error, ledger.error]


def asked_in_two_lists(ledger: Ledger) -> bool:
    """Whether two that come one after the other, soon after a first one, are asked about together."""
    ledger.go_on.set()

    async def run() -> None:
        asking = Admission(ledger.ask, 4)
        await asking.admit(delivery("first"))
        early = asyncio.create_task(asking.admit(delivery("a")))
        for _ in range(3):
            await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(early, asking.admit(delivery("b")))

    asyncio.run(run())
    return ledger.lists == [["first"], ["a", "b"]]


def test_soon_after_a_list_the_next_one_grows(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes a moment later is in it."""
    monkeypatch.setattr(pace, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 1.0)
    monkeypatch.setattr(pace, "WORTH_WAITING_FOR", 0.0)
    assert asked_in_two_lists(ledger)


def test_the_pace_is_told_how_long_lists_are(ledger: Ledger, noted: list[int]) -> None:
    """By it, a pool knows whether others are to be expected."""
    admitted(ledger, "abc")
    assert noted == [1, 3]


def test_enough_is_asked_about_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the pause was to be."""
    monkeypatch.setattr(pace, "LEAST_SECONDS", 3600.0)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 3600.0)
    monkeypatch.setattr(pace, "ENOUGH", 2)
    assert asked_in_two_lists(ledger)
