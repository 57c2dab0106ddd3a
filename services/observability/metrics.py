"""Prometheus metrics of a worker process."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from services.domain.outcome import Effect, VerdictStored

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
WAIT_SECONDS = Histogram(
    "doorbell_step_wait_seconds",
    "From a step's being due until a process took its message; a pause of its task counts.",
    ["pool", "task"],
    buckets=_SECONDS,
)
LIST_SIZE = Histogram(
    "doorbell_list_steps",
    "Steps that committed in one transaction.",
    ["pool"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
TRANSACTION_SECONDS = Histogram(
    "doorbell_transaction_seconds",
    "A list's transaction: its rows locked, its effects and what follows written, all committed.",
    ["pool"],
    buckets=_SECONDS,
)
PUBLISH_SECONDS = Histogram(
    "doorbell_publish_seconds",
    "A list's next messages published, and confirmed by the broker.",
    ["pool"],
    buckets=_SECONDS,
)
VERDICTS = Counter(
    "doorbell_verdicts_total",
    "Verdicts stored, by level; one that replaces `unscored` too.",
    ["level"],
)
VERDICT_SECONDS = Histogram(
    "doorbell_verdict_seconds",
    "From a login's being accepted to its verdict's being stored.",
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
NOTICES = Counter(
    "doorbell_notices_total", "Notices that left, or were given up.", ["channel", "outcome"]
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


RELAYED = Counter(
    "doorbell_relayed_messages_total",
    "Messages that the relay has published for others, and the broker confirmed.",
)


def count_repairs(repaired: Mapping[str, int]) -> None:
    """Count one sweep, by what was repaired."""
    for outcome, count in repaired.items():
        REPAIRS.labels(outcome).inc(count)


def count_effects(effects: Iterable[Effect]) -> None:
    """Count what a committed transaction has changed."""
    for effect in effects:
        if isinstance(effect, VerdictStored):
            VERDICTS.labels(effect.level).inc()
            if effect.seconds is not None:
                VERDICT_SECONDS.observe(effect.seconds)
        else:
            NOTICES.labels(effect.channel, effect.outcome).inc()


class StepMetrics:
    """Counts what a pool's process does. Threads may share it.

    known: the names of tasks; whoever can publish can invent others, and they count as one.
    """

    def __init__(self, pool: str, known: Container[str]) -> None:
        self._pool = pool
        self._known = known
        # A process that publishes once in minutes would be missing from every panel until then.
        for metric in (LIST_SIZE, TRANSACTION_SECONDS, PUBLISH_SECONDS, IN_FLIGHT):
            metric.labels(pool)
        # The library looks a series up under a lock, with a tuple of texts made for it, each time.
        self._of = cache(lambda metric, *labels: metric.labels(*labels))

    def received(self, task: str, in_flight: int) -> None:
        self._of(RECEIVED, self._pool, self._name(task)).inc()
        self._of(IN_FLIGHT, self._pool).set(in_flight)

    def waited(self, task: str, seconds: float) -> None:
        self._of(WAIT_SECONDS, self._pool, self._name(task)).observe(seconds)

    def committed(self, steps: int, seconds: float) -> None:
        self._of(LIST_SIZE, self._pool).observe(steps)
        self._of(TRANSACTION_SECONDS, self._pool).observe(seconds)

    def publishing(self) -> AbstractContextManager[object]:
        """Measures the block: messages published and confirmed."""
        timer: AbstractContextManager[object] = self._of(PUBLISH_SECONDS, self._pool).time()
        return timer

    def finished(self, task: str, outcome: str, seconds: float, in_flight: int) -> None:
        self._of(OUTCOMES, self._pool, self._name(task), outcome).inc()
        self._of(RUN_SECONDS, self._pool, self._name(task)).observe(seconds)
        self._of(IN_FLIGHT, self._pool).set(in_flight)

    def _name(self, task: str) -> str:
        return task if task in self._known else "unknown"
