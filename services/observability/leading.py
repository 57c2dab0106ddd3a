"""What the one beat that leads shows to Prometheus on behalf of the whole fleet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from services.ledger.figures import LATE_NOTICE_SECONDS, LATE_SECONDS, MOST, Figures, Slot

logger = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 20.0
CERTIFICATE_EVERY_SECONDS = 600.0
STALE_SECONDS = 45.0
"""Older figures are not shown: better none than those of a ledger that cannot be asked."""

_SHARE = 0.1
"""The part of its time that measuring may take, up to the longest pause: late alarms are worth more."""

TICKS = Counter("doorbell_beat_ticks_total", "Turns of the loop of the beat that leads.")


class LedgerFigures(Collector):
    """Measures the ledger every few seconds, and shows the last figures while they are fresh.

    Only the beat that leads starts one, so that a figure of the whole ledger is
    shown once, not by each process. When another takes over, both may be scraped
    within the same minute: they show the same ledger, and rules take the
    maximum, never the sum. Its counters say whether there are figures at all.
    """

    def __init__(
        self, measure: Callable[[], Figures], clock: Callable[[], float] = monotonic
    ) -> None:
        self._measure = measure
        self._clock = clock
        self._latest: tuple[float, Figures] | None = None
        self._done = 0
        self._failed = 0

    def start(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Show the figures from now on, for as long as the process lives."""
        registry.register(self)
        threading.Thread(target=self._run, name="figures", daemon=True).start()

    def look(self) -> None:
        """Measure once. Whatever goes wrong is counted, and the figures grow old."""
        try:
            figures = self._measure()
        except Exception as error:  # noqa: BLE001  the thread must outlive it
            logger.warning("the ledger's figures cannot be measured: %s", error)
            self._failed += 1
            return
        self._latest = (self._clock(), figures)
        self._done += 1

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Prometheus-client's interface."""
        looks = CounterMetricFamily(
            "doorbell_ledger_measurements",
            "How often the ledger's figures were measured, or could not be.",
            labels=["outcome"],
        )
        looks.add_metric(["done"], self._done)
        looks.add_metric(["failed"], self._failed)
        yield looks
        latest = self._latest
        if latest is not None and self._clock() - latest[0] < STALE_SECONDS:
            yield from _families(latest[1])

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            began = self._clock()
            self.look()
            took = self._clock() - began
            pause.wait(min(max(EVERY_SECONDS, took / _SHARE), LONGEST_PAUSE_SECONDS))


class BrokerCertificate(Collector):
    """Shows when the certificate ends that the broker shows to who connects anew.

    ask: connects, and returns the seconds since 1970. While it fails, what was last seen stands.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._end: float | None = None

    def start(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Ask from now on, every few minutes, for as long as the process lives."""
        registry.register(self)
        threading.Thread(target=self._run, name="certificate", daemon=True).start()

    def look(self) -> None:
        """Ask once."""
        try:
            self._end = self._ask()
        except Exception as error:  # noqa: BLE001  the thread must outlive it
            logger.warning("the broker's certificate cannot be seen: %s", error)

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Prometheus-client's interface."""
        if self._end is not None:
            yield GaugeMetricFamily(
                "doorbell_broker_certificate_end_timestamp_seconds",
                "When the certificate ends that the broker shows.",
                self._end,
            )

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self.look()
            pause.wait(CERTIFICATE_EVERY_SECONDS)


def _families(figures: Figures) -> Iterator[Metric]:
    yield from _work(figures)
    yield from _held(figures)
    yield from _surroundings(figures)
    yield from _slots(figures.slots)


def _work(figures: Figures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "doorbell_open_workflows",
        f"Workflows that have not ended, counted up to {MOST}.",
        figures.open_workflows,
    )
    yield _filled(
        GaugeMetricFamily(
            "doorbell_open_workflows_older",
            f"Workflows that were accepted more than so many seconds ago and have not ended, counted up to {MOST}.",
            labels=["seconds"],
        ),
        {f"{age:.0f}": count for age, count in figures.open_by_age.items()},
    )
    yield GaugeMetricFamily(
        "doorbell_oldest_workflow_seconds",
        "Since the oldest open workflow was accepted; of a replayed one, since it last moved.",
        figures.oldest_workflow_seconds,
    )
    yield GaugeMetricFamily(
        "doorbell_late_logins",
        f"Open logins without a verdict for {LATE_SECONDS:.0f} seconds, counted up to {MOST}.",
        figures.late_logins,
    )
    yield GaugeMetricFamily(
        "doorbell_late_notices",
        f"Notices that have not left for {LATE_NOTICE_SECONDS:.0f} seconds, counted up to {MOST}.",
        figures.late_notices,
    )
    yield _filled(
        GaugeMetricFamily(
            "doorbell_oldest_waiting_seconds",
            "Since the oldest step of a queue was published and due; those under way count.",
            labels=["queue"],
        ),
        figures.oldest_waiting_seconds,
    )
    yield GaugeMetricFamily(
        "doorbell_lost_steps",
        "Steps given up because the broker lost their messages, not replayed or dropped yet.",
        figures.lost_steps,
    )


def _held(figures: Figures) -> Iterator[Metric]:
    yield _filled(
        GaugeMetricFamily(
            "doorbell_parked_steps",
            f"Steps that wait for a resume of their task, or for a permit, counted up to {MOST} in all.",
            labels=["task"],
        ),
        figures.parked_steps,
    )
    yield _filled(
        GaugeMetricFamily(
            "doorbell_task_limit",
            "How many steps of a task the fleet begins in a second, where an operator limits that.",
            labels=["task"],
        ),
        figures.limits,
    )
    held = GaugeMetricFamily(
        "doorbell_held_seconds",
        "Since an operator keeps something from working: a task, a breaker, or processes of a pool.",
        labels=["kind", "name"],
    )
    for each in figures.held:
        held.add_metric([each.kind, each.name], each.seconds)
    yield held


def _surroundings(figures: Figures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "doorbell_open_breakers",
        "Circuit breakers that failures have opened: they let no call through but probes.",
        figures.open_breakers,
    )
    yield GaugeMetricFamily(
        "doorbell_standby_missing",
        "1 while commits wait for a standby and none is connected to the primary.",
        figures.is_standby_missing,
    )
    yield GaugeMetricFamily(
        "doorbell_commits_unprotected",
        "1 while commits wait for no standby although one has a replication slot.",
        figures.is_unprotected,
    )
    yield GaugeMetricFamily(
        "doorbell_canary_age_seconds",
        "Since a canary last came back from every queue.",
        figures.canary_seconds,
    )


def _filled(family: GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _slots(slots: Sequence[Slot]) -> Iterator[Metric]:
    fetched = GaugeMetricFamily(
        "doorbell_replication_slot_fetched",
        "1 while somebody fetches WAL through a replication slot: a standby, or the host of the backups.",
        labels=["slot"],
    )
    kept = GaugeMetricFamily(
        "doorbell_replication_slot_kept_bytes",
        "WAL that the primary keeps because it was not fetched through a slot yet.",
        labels=["slot"],
    )
    for slot in slots:
        fetched.add_metric([slot.name], slot.is_fetched)
        kept.add_metric([slot.name], slot.kept_bytes)
    yield fetched
    yield kept
