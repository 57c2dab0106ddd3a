"""Logins that come in all the time, as applications report them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Self
from uuid import uuid4

import requests

_RATE = 2.0
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",  # noqa: E501  # one user agent
)


def login_body(user: str, agent: str = _AGENTS[0]) -> dict[str, str]:
    """What an application reports of a login of this moment."""
    return {
        "event_id": str(uuid4()),
        "user_id": user,
        "occurred_at": datetime.now(UTC).isoformat(),
        "ip": "203.0.113.9",
        "user_agent": agent,
        "email": f"{user}@example.org",
    }


class Logins:
    """Reports logins as an application does, each user's from two devices in turn, whatever the answer.

    ca: the certificate that the gateway's is signed by, where it has one.
    """

    def __init__(
        self, endpoints: Mapping[str, str], rate: float = _RATE, ca: str | None = None
    ) -> None:
        self._url = f"{endpoints['gateway']}/v1/logins"
        self._headers = {"Authorization": f"Bearer {endpoints['api_key']}"}
        self._pause = 1 / rate
        self._verify = ca or True
        self._session = requests.Session()
        # It would read the environment, which the test runner changes meanwhile.
        self._session.trust_env = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        number, user = 0, ""
        due = monotonic()
        while not self._stop.is_set():
            if number % 2 == 0:
                user = f"game-{uuid4().hex[:10]}"
            self._report(user, _AGENTS[number % 2])
            number += 1
            due = max(due + self._pause, monotonic() - 1)
            sleep(max(0.0, due - monotonic()))

    def _report(self, user: str, agent: str) -> None:
        try:
            self._session.post(
                self._url,
                json=login_body(user, agent),
                headers=self._headers,
                timeout=5,
                verify=self._verify,
            )
        except requests.RequestException:
            self._stop.wait(0.5)
