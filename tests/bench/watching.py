"""Switches all that watches a cluster off, for what it costs to be seen."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from celery import Celery

from deploy.local.cluster import Cluster
from deploy.local.readiness import wait_until_ready
from deploy.local.supervision import Supervisor

UNWATCHED = "unwatched"
SAYS = "Doorbell without Prometheus, Alertmanager and Flower; its workers send no events"

_METRICS = ("prometheus", "alertmanager")
_WATCHERS = (*_METRICS, "flower", "flower_viewers")
_STOP_SECONDS = 60.0
_READY_SECONDS = 60.0


class Watching:
    """What watches a running cluster; on at first. Counters in the processes go on: they are the product's."""

    def __init__(self, cluster: Cluster, broker_url: str) -> None:
        self._cluster = cluster
        self._supervisor = Supervisor(cluster.layout)
        self._app = Celery(broker=broker_url)

    def start(self) -> None:
        """Start the watchers, wait until they are ready, and let workers send events again."""
        self._start(_WATCHERS)
        self._app.control.enable_events()

    def stop(self) -> None:
        """Stop the watchers and the workers' events."""
        self._supervisor.stop_programs(_WATCHERS, _STOP_SECONDS)
        self._app.control.disable_events()

    @contextmanager
    def without_metrics(self) -> Iterator[None]:
        """While the product is stopped, there is nothing that Prometheus could read."""
        self._supervisor.stop_programs(_METRICS, _STOP_SECONDS)
        try:
            yield
        finally:
            self._start(_METRICS)

    def _start(self, names: Collection[str]) -> None:
        self._supervisor.start_programs(names)
        processes = [each for each in self._cluster.processes if each.name in names]
        wait_until_ready(
            self._cluster.layout, self._supervisor, processes, _READY_SECONDS, lambda _: None
        )
