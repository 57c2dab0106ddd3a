"""How long an application waits for a user's switches, which it reads at each login."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import perf_counter
from typing import Self

import requests


class Reads:
    """Reads the switches of one user ten times a second, over one connection."""

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        self._url = f"{endpoints['gateway']}/v1/users/somebody/switches"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {endpoints['api_key']}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        """Of each read that was answered."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._session.close()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            began = perf_counter()
            self._session.get(self._url, timeout=10).raise_for_status()
            self.seconds.append(perf_counter() - began)
