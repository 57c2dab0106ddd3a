"""How I/O steps are called together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.domain.outcome import Done, Outcome
from services.runner.delivery import Delivery
from services.runner.gathering import LISTS_IN_FLIGHT, Gathering
from tests.unit.runner.test_batch import SECONDS, delivery


class Api:
    """Notes its calls and answers them when it is let go on."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def call(self, deliveries: Sequence[Delivery]) -> list[Outcome | None]:
        self.lists.append([each.id for each in deliveries])
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return [Done({"id": each.id}) for each in deliveries]


async def _outcomes(api: Api, *turns: str) -> list[object]:
    """What becomes of the deliveries of each turn of the loop; those written large are redelivered."""
    gathering = Gathering(api.call)
    tasks = []
    for turn in turns:
        tasks += [asyncio.create_task(gathering.outcome_of(delivery(a, a.isupper()))) for a in turn]
        for _ in range(5):
            await asyncio.sleep(0)
    api.go_on.set()
    async with asyncio.timeout(SECONDS):
        return [*await asyncio.gather(*tasks, return_exceptions=True)]


@pytest.mark.parametrize(
    ("turns", "lists"),
    [
        (["a"], [["a"]]),
        (["abc"], [["a", "b", "c"]]),
        # Who comes later does not wait for who is being called.
        (["ab", "c"], [["a", "b"], ["c"]]),
        # A redelivered one is called alone.
        (["aBc"], [["a"], ["B"], ["c"]]),
        (["AB"], [["A"], ["B"]]),
        # But for so many calls at once.
        (["a", "b", "c", "d", "ef", "g"], [["a"], ["b"], ["c"], ["d"], ["e", "f", "g"]]),
    ],
)
def test_lists(turns: list[str], lists: list[list[str]]) -> None:
    """What is ready together is called together, and each has its own outcome."""

    async def run() -> tuple[list[object], list[list[str]]]:
        api = Api()
        return await _outcomes(api, *turns), api.lists

    outcomes, found = asyncio.run(run())
    assert found == lists
    assert outcomes == [Done({"id": name}) for turn in turns for name in turn]
    assert LISTS_IN_FLIGHT == 4


def test_an_error_reaches_all_who_wait() -> None:
    """Nobody waits for ever."""

    async def run() -> list[object]:
        api = Api()
        api.error = ValueError("as asked")
        return await _outcomes(api, "ab")

    assert [str(outcome) for outcome in asyncio.run(run())] == ["as asked"] * 2
