"""The main workflow in taskiq (0.13) on aio-pika, with confirms: a task that awaits the others' results.

taskiq has no join of a group: its documentation awaits results, which are polled. What awaits lives in
one process's memory; if that is killed, its message comes again and begins anew.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from taskiq import AsyncTaskiqTask
from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend

from tests.bench import work
from tests.bench.work import Json

_BACKEND: Any = RedisAsyncResultBackend(os.environ["RIVAL_BACKEND"])
_WAIT_SECONDS = 60.0

broker = AioPikaBroker(os.environ["RIVAL_BROKER"]).with_result_backend(_BACKEND)


@broker.task
def check_device(login: Json) -> Json:
    """Is this the user's known device?"""
    return work.check_device(login)


@broker.task
def notify_user(login: Json) -> bool:
    """Mail the user when the device is new, but not the first."""
    return work.notify_user(login)


@broker.task
def save_event(login: Json) -> Json:
    """Store the login."""
    return work.save_event(login)


@broker.task
def score_login(login: Json) -> Json:
    """Ask the outlier API."""
    return work.score_login(login)


@broker.task
def apply_verdict(login: Json) -> str:
    """Store the verdict, flip switches by the same policy, tell the user of a high level."""
    return work.apply_verdict(login)


@broker.task
async def report(login: Json) -> None:
    """The canvas: the check, two steps at once, the score, the verdict."""
    checked = await _result(await check_device.kiq(login))
    both = await asyncio.gather(notify_user.kiq(checked), save_event.kiq(checked))
    _, saved = await asyncio.gather(*(_result(each) for each in both))
    scored = await _result(await score_login.kiq(saved))
    await _result(await apply_verdict.kiq(scored))


async def _result(task: AsyncTaskiqTask[Any]) -> Any:
    found = await task.wait_result(timeout=_WAIT_SECONDS)
    found.raise_for_error()
    return found.return_value


class _Sender:
    """A loop and a broker's connection, begun with the first login."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_begun = False

    def __call__(self, login: Json) -> None:
        """Send a login's workflow, as `tests.bench.rival_send` wants it."""
        self._loop.run_until_complete(self._send(login))

    async def _send(self, login: Json) -> None:
        if not self._is_begun:
            await broker.startup()
            self._is_begun = True
        await report.kiq(login)


send = _Sender()
