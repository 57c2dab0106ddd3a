"""The main workflow in taskiq (0.13) on aio-pika, with confirms: tasks that send what follows, joined by a counter.

taskiq has no join of a group; to await results inside a task takes the places that the awaited tasks
need. So the two steps count themselves in Redis, and the second one sends the score's.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Any

from redis.asyncio import Redis
from taskiq_aio_pika import AioPikaBroker

from tests.bench import work
from tests.bench.work import Json

_JOIN_SECONDS = 3600
_BOTH = 2

broker = AioPikaBroker(os.environ["RIVAL_BROKER"])


@cache
def _redis() -> Redis:
    return Redis.from_url(os.environ["RIVAL_BACKEND"])


@broker.task
async def check_device(login: Json) -> None:
    """Is this the user's known device? Then the two steps at once."""
    checked = await asyncio.to_thread(work.check_device, login)
    await notify_user.kiq(checked)
    await save_event.kiq(checked)


@broker.task
async def notify_user(login: Json) -> None:
    """Mail the user when the device is new, but not the first."""
    await asyncio.to_thread(work.notify_user, login)
    await _join(login)


@broker.task
async def save_event(login: Json) -> None:
    """Store the login."""
    await asyncio.to_thread(work.save_event, login)
    await _join(login)


async def _join(login: Json) -> None:
    """Send the score's step when both have come here."""
    key = f"join:{login['event_id']}"
    there = await _redis().incr(key)
    await _redis().expire(key, _JOIN_SECONDS)
    if there == _BOTH:
        await score_login.kiq(login)


@broker.task
async def score_login(login: Json) -> None:
    """Ask the outlier API."""
    await apply_verdict.kiq(await asyncio.to_thread(work.score_login, login))


@broker.task
async def apply_verdict(login: Json) -> None:
    """Store the verdict, flip switches by the same policy, tell the user of a high level."""
    await asyncio.to_thread(work.apply_verdict, login)


class _Sender:
    """A loop and a broker's connection, begun with the first login."""

    def __init__(self) -> None:
        self._loop: Any = asyncio.new_event_loop()
        self._is_begun = False

    def __call__(self, login: Json) -> None:
        """Send a login's workflow, as `tests.bench.rival_send` wants it."""
        self._loop.run_until_complete(self._send(login))

    async def _send(self, login: Json) -> None:
        if not self._is_begun:
            await broker.startup()
            self._is_begun = True
        await check_device.kiq(login)


send = _Sender()
