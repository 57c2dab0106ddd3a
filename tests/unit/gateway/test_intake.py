"""The thread that lets requests share a transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from services.domain.errors import Unavailable
from services.domain.model import Login
from services.gateway import intake
from services.gateway.acceptance import Answer, Submission
from services.gateway.intake import Intake
from services.gateway.problems import Overloaded


def submission(key: str) -> Submission:
    login = Login(uuid4(), "acme", key, "u", datetime.now(UTC), "192.0.2.1", "")
    return Submission(login, key, b"")


def accepted(submissions: Sequence[Submission]) -> list[Answer]:
    return [Answer("accepted", each.id, each.key, "accepted") for each in submissions]


@contextmanager
def running(taker: Intake) -> Iterator[Intake]:
    taker.start()
    try:
        yield taker
    finally:
        taker.stop()


def test_each_submission_gets_its_own_answer() -> None:
    """A thousand at once come back in order."""
    with running(Intake(accepted)) as taker:
        answers = asyncio.run(taker.submit([submission(str(n)) for n in range(1000)]))
    assert [answer.event_id for answer in answers if isinstance(answer, Answer)] == [
        str(n) for n in range(1000)
    ]


def test_one_that_fails_does_not_fail_its_neighbours() -> None:
    """A list that the database refuses is tried again one by one."""

    def picky(submissions: Sequence[Submission]) -> list[Answer]:
        if any(each.key == "bad" for each in submissions):
            raise psycopg.DataError("bad")
        return accepted(submissions)

    with running(Intake(picky)) as taker:
        answers = asyncio.run(taker.submit([submission(key) for key in ("a", "bad", "c")]))
    assert [type(answer) for answer in answers] == [Answer, psycopg.DataError, Answer]


def test_an_absent_database_is_unavailable_to_all_and_asked_once() -> None:
    """A database that is away is not asked again for each login of the list."""
    calls = []

    def away(submissions: Sequence[Submission]) -> list[Answer]:
        calls.append(len(submissions))
        raise psycopg.OperationalError("gone")

    with running(Intake(away)) as taker:
        answers = asyncio.run(taker.submit([submission(str(n)) for n in range(10)]))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert sum(calls) == 10


def test_a_single_login_overtakes_a_batch() -> None:
    """Somebody's batch of a thousand does not make everybody else wait for it."""
    order: list[str] = []
    gate = threading.Event()

    def slow(submissions: Sequence[Submission]) -> list[Answer]:
        gate.wait(5)
        order.extend(each.key for each in submissions)
        return accepted(submissions)

    async def both(taker: Intake) -> None:
        batch = asyncio.create_task(taker.submit([submission("bulk")] * 1000))
        await asyncio.sleep(0)
        single = asyncio.create_task(taker.submit([submission("single")]))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(batch, single)

    with running(Intake(slow)) as taker:
        asyncio.run(both(taker))
    assert order.index("single") <= intake.LIST_SIZE


def test_a_late_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that hangs ends in an answer, and what was not begun is not done."""
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.05)
    gate = threading.Event()
    begun: list[str] = []

    def hanging(submissions: Sequence[Submission]) -> list[Answer]:
        begun.extend(each.key for each in submissions)
        gate.wait(5)
        return accepted(submissions)

    async def ask(taker: Intake) -> list[Answer | BaseException]:
        waiting = [asyncio.create_task(taker.submit([submission(str(n))])) for n in range(500)]
        answers = [answer for task in waiting for answer in await task]
        gate.set()
        return answers

    with running(Intake(hanging)) as taker:
        answers = asyncio.run(ask(taker))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert len(begun) <= intake.LIST_SIZE


def test_too_many_waiting_are_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is refused at once; the rest is answered."""
    monkeypatch.setattr(intake, "MAX_WAITING", 3)
    with running(Intake(accepted)) as taker:
        answers = asyncio.run(taker.submit([submission(str(n)) for n in range(5)]))
    assert [type(answer) for answer in answers] == [Answer] * 3 + [Overloaded] * 2
