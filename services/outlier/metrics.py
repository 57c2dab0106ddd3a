"""What the reference outlier API counts about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.context_managers import Timer


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "doorbell_outlier_answers_total",
            "Logins answered, by level; `repeated` were answered from storage.",
            ["outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "doorbell_outlier_answer_seconds",
            "Time to answer a request or a batch, without HTTP.",
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
        )

    def count(self, outcome: str) -> None:
        self._answers.labels(outcome).inc()

    def timed(self) -> Timer:
        return self._seconds.time()
