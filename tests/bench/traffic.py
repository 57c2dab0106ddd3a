"""What goes through the broker, by its own counters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.ports import HOST

_MESSAGES = {
    "published": "rabbitmq_global_messages_received_total",
    "delivered": "rabbitmq_global_messages_delivered_total",
    "acked": "rabbitmq_global_messages_acknowledged_total",
    "confirmed": "rabbitmq_global_messages_confirmed_total",
}
_BYTES = {
    "bytes_in": "rabbitmq_connection_incoming_bytes_total",
    "bytes_out": "rabbitmq_connection_outgoing_bytes_total",
}
"""Sums over all queues and connections; of what fields mean, see Traffic."""

_STATISTICS_SECONDS = 5.5
"""RabbitMQ's collect_statistics_interval, and a little more: a connection tells its bytes no more often."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages with all others that pass, such as events; bytes of connections that are still open."""

    published: float
    delivered: float
    acked: float
    confirmed: float
    bytes_in: float
    bytes_out: float

    def for_each(self, number: int) -> dict[str, float]:
        """By field, divided by a number of logins."""
        return {name: value / max(1, number) for name, value in asdict(self).items()}


class Counters:
    """Counts from its creation on, which takes until the bytes of before are known.

    port: of the broker's Prometheus plugin, which reads its counters each time.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/metrics"
        time.sleep(_STATISTICS_SECONDS)
        self._before = self._look()

    def read(self) -> Traffic:
        """What has passed so far; waits until its bytes are known too."""
        messages = self._look()
        time.sleep(_STATISTICS_SECONDS)
        sizes = self._look()
        now = {name: (messages if name in _MESSAGES else sizes)[name] for name in self._before}
        return Traffic(**{name: max(0.0, now[name] - self._before[name]) for name in now})

    def _look(self) -> Mapping[str, float]:
        answer = requests.get(self._url, timeout=10)
        answer.raise_for_status()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return {name: sums.get(metric, 0.0) for name, metric in (_MESSAGES | _BYTES).items()}
