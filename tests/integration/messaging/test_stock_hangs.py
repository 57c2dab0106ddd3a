"""The negative control: Celery as it comes, with Redis, really hangs where ours must end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import chord

from tests.integration.messaging.conftest import Stock
from tests.integration.messaging.hangs import PLACES, SILENT_IN_CELERY, Hang, make
from tests.support.fleet import wait_until

SECONDS = 30


@pytest.fixture(scope="module")
def hangs(stock: Stock) -> dict[tuple[str, str], Hang]:
    """All of them, sent, and consumed as far as they ever will be."""
    made = {key: make(stock.app, *key) for key in SILENT_IN_CELERY}
    revoked = [hang.stopped for (_, stop), hang in made.items() if stop == "revoked"]
    assert stock.app.control.broadcast(
        "revoke", arguments={"task_id": revoked}, reply=True, timeout=5, limit=1
    )
    for hang in made.values():
        hang.canvas.apply_async()
    for hang in made.values():
        for step_id in hang.before:
            wait_until(lambda i=step_id: stock.app.AsyncResult(i).successful(), SECONDS)  # type: ignore[misc]
    _settle(stock)
    return made


def _settle(stock: Stock) -> None:
    """Wait until nothing is left that could end a canvas."""
    for _ in range(2):
        marker = stock.app.send_task("hand.say", [f"marker-{uuid4().hex[:8]}"])
        assert marker.get(timeout=SECONDS)
    wait_until(stock.is_idle, SECONDS, "the stock worker holds messages")


@pytest.mark.parametrize(("place", "stop"), sorted(SILENT_IN_CELERY))
def test_a_stock_canvas_hangs(
    stock: Stock, hangs: dict[tuple[str, str], Hang], place: str, stop: str
) -> None:
    """Nothing waits, nothing runs, the result is pending for ever and the callback was not called."""
    hang = hangs[place, stop]

    assert stock.app.AsyncResult(hang.last).state == "PENDING"
    assert stock.lines(f"error {hang.tag}") == []


@pytest.mark.parametrize("place", PLACES)
def test_a_stock_canvas_ends_when_a_step_fails(stock: Stock, place: str) -> None:
    """The control of the control: the same canvas with a plain failure is ended and told of."""
    hang = make(stock.app, place, "fails")
    hang.canvas.apply_async()

    wait_until(lambda: stock.app.AsyncResult(hang.last).failed(), SECONDS)
    wait_until(lambda: stock.lines(f"error {hang.tag}"), SECONDS)


def test_a_stock_body_is_lost_with_the_process_that_claimed_it(stock: Stock) -> None:
    """F5: every leaf is done, the redelivered one sees the claim and goes away, and nobody looks again."""
    starts = len(stock.lines("start"))
    leaves = [stock.app.signature("hand.leaf_by_hand", args=(name,)) for name in "ab"]
    body = stock.app.signature("hand.body", args=("claimed",))
    result: Any = chord(leaves, body, app=stock.app).apply_async()
    wait_until(lambda: len(stock.lines("start")) > starts, SECONDS, "nobody was killed")
    wait_until(lambda: len(stock.lines("ran a ")) + len(stock.lines("ran b ")) > 2, SECONDS)
    _settle(stock)

    assert all(leaf.successful() for leaf in result.parent.results)
    assert result.state == "PENDING"
    assert stock.lines("ran claimed") == []
