"""How places are given to queues in turn."""

from __future__ import annotations

import asyncio

import pytest

from services.runner.turns import Turns
from tests.unit.runner.test_batch import SECONDS


async def _order(places: int, arrivals: list[str]) -> list[str]:
    """In which order these get a place, each of which is given back when the next one is due; all have come before."""
    turns, got = Turns(places), list[str]()

    async def call(name: str) -> None:
        await turns.acquire(name.rstrip("0123456789"))
        got.append(name)

    calls = [asyncio.create_task(call(name)) for name in arrivals]
    async with asyncio.timeout(SECONDS):
        while len(got) < len(arrivals):
            await asyncio.sleep(0)
            if len(got) >= places:
                turns.release()
        await asyncio.gather(*calls)
    return got


@pytest.mark.parametrize(
    ("places", "arrivals", "order"),
    [
        (1, ["a1", "a2", "a3"], ["a1", "a2", "a3"]),
        (1, ["a1", "a2", "a3", "a4", "b1"], ["a1", "a2", "b1", "a3", "a4"]),
        (1, ["a1", "a2", "a3", "b1", "b2"], ["a1", "a2", "b1", "a3", "b2"]),
        (2, ["a1", "a2", "a3", "a4", "a5", "b1", "c1"], ["a1", "a2", "a3", "b1", "c1", "a4", "a5"]),
    ],
)
def test_a_queue_waits_for_one_call_of_each_other(
    places: int, arrivals: list[str], order: list[str]
) -> None:
    """However many came before by another queue; those of one keep their order."""
    assert asyncio.run(_order(places, arrivals)) == order


def test_no_more_than_its_places() -> None:
    """And as many again when all have been given back."""

    async def run() -> None:
        turns = Turns(2)
        for _ in range(2):
            waiting = [asyncio.create_task(turns.acquire(queue)) for queue in "aab"]
            await asyncio.sleep(0)
            assert [it.done() for it in waiting] == [True, True, False]
            for _ in waiting:
                turns.release()
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*waiting)

    asyncio.run(run())
