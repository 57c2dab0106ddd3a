"""What the gateway counts, in a registry of its own."""

from __future__ import annotations

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
    """The gateway's metrics; the only label is `outcome`, from a fixed set."""

    def __init__(self) -> None:
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

    def count_login(self, outcome: Outcome) -> None:
        self.logins.labels(outcome).inc()
