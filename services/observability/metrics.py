"""Prometheus metrics of a worker process."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

RECEIVED = Counter("doorbell_steps_received_total", "Messages taken.", ["pool", "task"])
OUTCOMES = Counter(
    "doorbell_steps_total", "Attempts by outcome, one each.", ["pool", "task", "outcome"]
)
RUN_SECONDS = Histogram(
    "doorbell_step_seconds",
    "From a step's message to its commit and publish.",
    ["pool", "task"],
    buckets=_SECONDS,
)
IN_FLIGHT = Gauge("doorbell_steps_in_flight", "Messages held unacked.", ["pool"])
DRAINING = Gauge(
    "doorbell_draining", "1 while an operator's drain keeps messages from this process.", ["pool"]
)
REPAIRS = Counter(
    "doorbell_repairs_total",
    "What the sweeps of the reconciler did that this process ran; the sum over all is the fleet's.",
    ["outcome"],
)
for _outcome in ("republished", "lost", "probes", "ended"):
    # A series that begins with what it counts hides that from every rate.
    REPAIRS.labels(_outcome)


def count_repairs(repaired: Mapping[str, int]) -> None:
    """Count one sweep, by what was repaired."""
    for outcome, count in repaired.items():
        REPAIRS.labels(outcome).inc(count)


class StepMetrics:
    """Counts what a pool's process does; labels are bounded by the topology."""

    def __init__(self, pool: str) -> None:
        self._pool = pool

    def received(self, task: str, in_flight: int) -> None:
        RECEIVED.labels(self._pool, task).inc()
        IN_FLIGHT.labels(self._pool).set(in_flight)

    def finished(self, task: str, outcome: str, seconds: float, in_flight: int) -> None:
        OUTCOMES.labels(self._pool, task, outcome).inc()
        RUN_SECONDS.labels(self._pool, task).observe(seconds)
        IN_FLIGHT.labels(self._pool).set(in_flight)
