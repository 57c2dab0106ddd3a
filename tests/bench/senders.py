"""Applications that report logins at a rate, or as fast as the door takes them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from tests.bench.doorbell import Doorbell
from tests.bench.load import endless

TICK_SECONDS = 0.05


class Door:
    """One kept connection to the gateway; nothing but HTTP, so that sending costs little."""

    def __init__(self, doorbell: Doorbell) -> None:
        gateway = urlsplit(doorbell.endpoints["gateway"])
        self._connection = HTTPConnection(gateway.hostname or "", gateway.port, timeout=30)
        self._headers = {
            "Authorization": f"Bearer {doorbell.endpoints['api_key']}",
            "Content-Type": "application/json",
        }

    def report(self, chosen: Sequence[dict[str, Any]]) -> list[str]:
        """Report one login, or several by `:batch`; their workflows. Load that is shed is sent again."""
        is_one = len(chosen) == 1
        path = "/v1/logins" if is_one else "/v1/logins:batch"
        body = json.dumps(chosen[0] if is_one else {"logins": chosen})
        while True:
            self._connection.request("POST", path, body, self._headers)
            answer = self._connection.getresponse()
            said = answer.read()
            if answer.status == 503:
                time.sleep(float(answer.headers.get("Retry-After", "1")))
                continue
            if answer.status not in (200, 202):
                raise RuntimeError(f"the gateway answered {answer.status}: {said[:300]!r}")
            found = json.loads(said)
            results = [found] if is_one else found["results"]
            return [result["workflow_id"] for result in results]

    def close(self) -> None:
        self._connection.close()


class Senders:
    """Threads that report logins, so many `together` in a request, until they are told to stop.

    rate: logins a second of all of them; None: all they can.
    """

    def __init__(self, doorbell: Doorbell, number: int, together: int, rate: float | None) -> None:
        self._source = endless(uuid.uuid4().hex[:8])
        self._together, self._rate = together, rate
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._taken = 0
        self._stopping = threading.Event()
        self.workflows: list[str] = []
        self.errors: list[BaseException] = []
        doors = [Door(doorbell) for _ in range(number)]
        self._threads = [threading.Thread(target=self._run, args=(door,)) for door in doors]

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what a thread has met: it sends no more."""
        if self.errors:
            self.stop()

    def wait_for(self, number: int) -> None:
        """Wait until so many logins are accepted. Raises what a thread has met."""
        while len(self.workflows) < number:
            self.check()
            time.sleep(TICK_SECONDS)

    def pause(self) -> None:
        """Report no more logins."""
        self._stopping.set()

    def stop(self) -> None:
        """Wait for what is under way. Raises what a thread has met."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self, door: Door) -> None:
        try:
            with closing(door):
                while not self._stopping.is_set():
                    if chosen := self._take():
                        found = door.report(chosen)
                        self.workflows += found
                    else:
                        time.sleep(TICK_SECONDS)
        except Exception as error:  # told to who waits
            self.errors.append(error)

    def _take(self) -> list[dict[str, Any]]:
        with self._lock:
            if self._rate is not None:
                late = (time.monotonic() - self._began) * self._rate - self._taken
                if late < self._together:
                    return []
            self._taken += self._together
            return list(islice(self._source, self._together))
