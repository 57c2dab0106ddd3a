"""Reports logins at the gateway at a steady rate, and asks again under the same event_id until answered."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from tests.chaos.receivers import REFUSED, SUSPECT

PATIENCE_SECONDS = 90.0
"""How long one login is reported again before it counts as refused."""

_SENDERS = 24
_BATCH = 5
_FULL_SECONDS = 0.05
_TIMEOUT_SECONDS = 25.0
_BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one request; `status` None: the connection broke or gave no answer in time."""

    at: float
    seconds: float
    status: int | None
    retry_after: float | None


@dataclass(slots=True)
class Report:
    """One login, and what became of reporting it. Accepted when it has a workflow."""

    body: dict[str, Any]
    workflow_id: str | None = None
    refusal: str | None = None
    answers: list[Answer] = field(default_factory=list)

    @property
    def event_id(self) -> str:
        return str(self.body["event_id"])

    @property
    def user_id(self) -> str:
        return str(self.body["user_id"])

    @property
    def is_marked(self) -> bool:
        """Whether the outlier API is to refuse it: the injected permanent cause."""
        return self.user_id.startswith(REFUSED)


_User = tuple[str, str | None]
"""An id, and an address or none."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What the logins are like, each a share from 0 to 1.

    crowd: how many users log in at a time, so that the last logins are like the first: as many
    of somebody's first, as many on a new device. 0: all of them, all the time.
    """

    marked: float = 0.03
    suspect: float = 0.05
    without_email: float = 0.3
    batched: float = 0.2
    crowd: int = 0


def make_reports(number: int, seed: int, mixture: Mixture | None = None) -> list[Report]:
    """That many logins of users nobody has seen before, on known and new devices; the same for a seed."""
    chosen = mixture or Mixture()
    dice = random.Random(seed)
    run = uuid4().hex[:8]
    users = [_user(dice, chosen, run, index) for index in range(max(1, number // 3))]
    return [
        Report(_login(dice, run, *dice.choice(_at_a_time(users, chosen.crowd, index / number))))
        for index in range(number)
    ]


def _at_a_time(users: Sequence[_User], crowd: int, progress: float) -> Sequence[_User]:
    """Who logs in at this point of the way, from 0 to 1."""
    if not crowd:
        return users
    first = int(progress * max(0, len(users) - crowd))
    return users[first : first + crowd]


def _user(dice: random.Random, mixture: Mixture, run: str, index: int) -> _User:
    roll = dice.random()
    kind = "user"
    if roll < mixture.marked:
        kind = REFUSED
    elif roll < mixture.marked + mixture.suspect:
        kind = SUSPECT
    user_id = f"{kind}-{run}-{index}"
    return user_id, None if dice.random() < mixture.without_email else f"{user_id}@example.org"


def _login(dice: random.Random, run: str, user_id: str, email: str | None) -> dict[str, Any]:
    body = {
        "event_id": f"{run}-{uuid4()}",
        "user_id": user_id,
        "occurred_at": datetime.now(UTC).isoformat(),
        "ip": f"203.0.113.{dice.randint(1, 254)}",
        "user_agent": dice.choice(_BROWSERS),
    }
    return body | ({"email": email} if email else {})


class Load:
    """Reports `reports` at `rate` a second from threads; `wait` ends them.

    A login without an answer is reported again with the same body: after
    Retry-After on 503, after a second when the connection broke. Any other
    answer than 202 is a refusal. `transport` leads to the gateways where a URL alone does not.
    `is_full` is told before each report how many were sent so far, and holds it back while it says so.
    """

    def __init__(
        self,
        gateway_url: str,
        api_key: str,
        reports: Sequence[Report],
        rate: float,
        batched: float = 0.2,
        seed: int = 0,
        transport: httpx.BaseTransport | None = None,
        is_full: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._reports = reports
        self._is_full = is_full
        self._rate = rate
        self._batched = batched
        self._dice = random.Random(seed)
        self._due: queue.SimpleQueue[list[Report] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._enough = threading.Event()
        self._client = httpx.Client(
            base_url=gateway_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=_SENDERS),
            transport=transport,
            trust_env=False,
        )
        self._threads = [
            threading.Thread(target=self._pace, name="load-pace"),
            *(threading.Thread(target=self._send_all, name="load") for _ in range(_SENDERS)),
        ]
        self.sent = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def share_sent(self) -> float:
        """How much of the logins is on its way or answered, from 0 to 1."""
        return self.sent / len(self._reports)

    def wait(self) -> None:
        """Wait until every login is accepted or refused."""
        for thread in self._threads:
            thread.join()
        self._client.close()

    def enough(self) -> None:
        """Report no further logins than those that are on their way; `sent` tells how many that is."""
        self._enough.set()

    def abort(self) -> None:
        """Report nothing more, and end."""
        self._over.set()
        self._enough.set()
        self.wait()

    def _pace(self) -> None:
        began = time.monotonic()
        left = list(reversed(self._reports))
        while left and not self._enough.is_set():
            while self._is_full(self.sent) and not self._enough.is_set():
                self._enough.wait(_FULL_SECONDS)
            size = _BATCH if self._dice.random() < self._batched / _BATCH else 1
            group = [left.pop() for _ in range(min(size, len(left)))]
            self._due.put(group)
            self.sent += len(group)
            self._enough.wait(max(0.0, began + self.sent / self._rate - time.monotonic()))
        for _ in range(_SENDERS):
            self._due.put(None)

    def _send_all(self) -> None:
        while (group := self._due.get()) is not None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while group and not self._over.is_set():
                group = self._send(group)
                if group and time.monotonic() > deadline:
                    for report in group:
                        report.refusal = f"no answer within {PATIENCE_SECONDS:g} s"
                    break

    def _send(self, group: list[Report]) -> list[Report]:
        """Report once; returns what is to be reported again, after the pause that was asked for."""
        began = time.monotonic()
        path, value = "/v1/logins", group[0].body
        if len(group) > 1:
            path, value = "/v1/logins:batch", {"logins": [report.body for report in group]}
        try:
            response = self._client.post(path, json=value)
        except httpx.TransportError:
            return self._again(group, Answer(time.time(), time.monotonic() - began, None, None))
        asked = response.headers.get("Retry-After")
        answer = Answer(
            time.time(),
            time.monotonic() - began,
            response.status_code,
            float(asked) if asked else None,
        )
        if response.status_code == 503:
            return self._again(group, answer)
        if len(group) == 1:
            results = [{"status": response.status_code, **_json(response)}]
        elif response.status_code in (200, 207):
            results = response.json()["results"]
        else:
            results = [{"status": response.status_code, "problem": response.text}] * len(group)
        left = [
            report
            for report, result in zip(group, results, strict=True)
            if self._is_unanswered(report, result, answer)
        ]
        if left:
            self._over.wait(answer.retry_after or 1.0)
        return left

    def _is_unanswered(self, report: Report, result: dict[str, Any], answer: Answer) -> bool:
        status = int(result["status"])
        report.answers.append(Answer(answer.at, answer.seconds, status, answer.retry_after))
        if status == 202:
            report.workflow_id = str(result["workflow_id"])
        elif status != 503:
            report.refusal = str(result)[:500]
        return status == 503

    def _again(self, group: list[Report], answer: Answer) -> list[Report]:
        for report in group:
            report.answers.append(answer)
        self._over.wait(answer.retry_after or 1.0)
        return group


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        value: dict[str, Any] = response.json()
    except ValueError:
        return {"problem": response.text}
    return {name: part for name, part in value.items() if name != "status"}
