"""What the reference outlier API counts about itself."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.context_managers import Timer

from services.outlier.model import FEATURES


class Metrics:
    """The counters of one application, in a registry of their own; implements `services.outlier.judge.Watcher`."""

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

        self._scores = Histogram(
            "doorbell_outlier_score",
            "Scores as they were answered; a user's first login has none.",
            registry=self.registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        )
        self._unseen = Counter(
            "doorbell_outlier_unseen_total",
            "Logins with a value that no user of the tenant had shown before, by level.",
            ["level"],
            registry=self.registry,
        )
        for name in (level for weights in FEATURES.values() for level in weights):
            self._unseen.labels(name)
        self._logins = Gauge(
            "doorbell_outlier_history_logins",
            "Logins that the history has.",
            registry=self.registry,
        )
        self._users = Gauge(
            "doorbell_outlier_history_users",
            "Users that the history has logins of.",
            registry=self.registry,
        )

    def count(self, outcome: str) -> None:
        self._answers.labels(outcome).inc()

    def note(self, score: float | None, unseen: Collection[str]) -> None:
        if score is not None:
            self._scores.observe(score)
        for level in unseen:
            self._unseen.labels(level).inc()

    def measure(self, logins: int, users: int) -> None:
        """How large the history is now."""
        self._logins.set(logins)
        self._users.set(users)

    def timed(self) -> Timer:
        return self._seconds.time()
