"""What the broker still holds, by its management interface: messages in queues, and the ids of dead letters."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

_POLL_SECONDS = 0.25
_STATISTICS_SECONDS = 6.0
"""RabbitMQ's own statistics are up to 5 s old."""

_DEAD = ".dead"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's management interface and who may ask it everything; `tls` where it speaks HTTPS."""

    management_url: str
    user: str
    password: str
    vhost: str
    tls: ssl.SSLContext | None = None

    def held(self) -> dict[str, int]:
        """Messages of each queue that has some, ready or unacked; a few seconds old."""
        rows: list[dict[str, Any]] = self._ask("GET", "queues")
        return {row["name"]: int(row["messages"]) for row in rows if row.get("messages")}

    def left(self, seconds: float) -> dict[str, int]:
        """What the queues of work and of delays hold, from fresh numbers.

        Waits up to `seconds` for them to be empty: what beat schedules passes
        through them all the time.
        """
        began = time.monotonic()
        while True:
            time.sleep(_POLL_SECONDS)
            try:
                held = self.held()
            except httpx.HTTPError:
                held = {"(the broker does not answer)": 1}
            left = {name: count for name, count in held.items() if not name.endswith(_DEAD)}
            passed = time.monotonic() - began
            if passed > _STATISTICS_SECONDS and (not left or passed > seconds):
                return left

    def dead_letters(self) -> dict[str, list[str]]:
        """The step ids of the messages in each dead-letter queue; they stay there."""
        counts = {name: n for name, n in self.held().items() if name.endswith(_DEAD)}
        return {name: self._ids(name, count) for name, count in counts.items()}

    def _ids(self, queue: str, count: int) -> list[str]:
        how = {
            "count": count + 100,
            "ackmode": "ack_requeue_true",
            "encoding": "auto",
            "truncate": 1,
        }
        found: list[dict[str, Any]] = self._ask("POST", "queues", queue, "get", body=how)
        return [str(message["properties"]["headers"]["id"]) for message in found]

    def _ask(self, method: str, kind: str, *path: str, body: object = None) -> Any:
        where = "/".join(quote(part, safe="") for part in (kind, self.vhost, *path))
        answer = httpx.request(
            method,
            f"{self.management_url}/api/{where}",
            auth=(self.user, self.password),
            json=body,
            timeout=60,
            verify=self.tls or True,
            trust_env=False,
        )
        answer.raise_for_status()
        return answer.json()
