"""What the gateway counts, in a registry of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

Outcome = Literal[
    "accepted", "repeated", "conflict", "invalid", "limited", "shed", "unavailable", "error"
]
OUTCOMES: tuple[Outcome, ...] = (
    "accepted",
    "repeated",
    "conflict",
    "invalid",
    "limited",
    "shed",
    "unavailable",
    "error",
)


class Metrics:
    """The gateway's metrics; their labels are `outcome`, from a fixed set, and the topology's queues.

    first_queues: those in which a login begins.
    """

    def __init__(self, first_queues: Sequence[str] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.logins = Counter(
            "doorbell_logins",
            "Logins by what they were answered; a batch that is refused as a whole counts as one.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self.logins.labels(outcome)
        self.request_seconds = Histogram(
            "doorbell_request_duration_seconds",
            "Time to answer a request, by the class of its status.",
            ["outcome"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        self.outbox_lag = Gauge(
            "doorbell_outbox_lag_seconds",
            "Age of the oldest message that has no confirm of the broker yet.",
            registry=self.registry,
        )
        self.outbox_messages = Gauge(
            "doorbell_outbox_messages",
            "Messages that have no confirm of the broker yet.",
            registry=self.registry,
        )
        unplanned = Gauge(
            "doorbell_unplanned_logins",
            "Accepted logins of batches that get their steps when the queue that they begin in has room for them.",
            ["queue"],
            registry=self.registry,
        )
        self._unplanned = [unplanned.labels(queue) for queue in first_queues]
        self.database_reachable = Gauge(
            "doorbell_database_reachable",
            "1 while PostgreSQL answers this gateway, which asks every second.",
            registry=self.registry,
        )
        self.published = Counter(
            "doorbell_gateway_published",
            "First messages by what became of them at the gateway; the relay publishes the rest.",
            ["outcome"],
            registry=self.registry,
        )

    def note_unplanned(self, logins: int) -> None:
        for gauge in self._unplanned:
            gauge.set(logins)

    def count_login(self, outcome: Outcome) -> None:
        self.logins.labels(outcome).inc()
