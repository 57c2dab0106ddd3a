"""`python -m tests.bench.monitoring`: what being watched costs, by turns with and without it on one cluster."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing

from celery import Celery

from deploy.local.readiness import wait_until_ready
from deploy.local.supervision import Supervisor
from tests.bench.__main__ import private_cluster
from tests.bench.doorbell import Doorbell
from tests.bench.load import logins
from tests.bench.result import Throughput, median

_WATCHERS = ("prometheus", "alertmanager", "flower", "flower_viewers")
_WARM_UP = 200
_WARM_UP_SECONDS = 60.0
_STOP_SECONDS = 60.0
_READY_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every run ended in time."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.monitoring", description=__doc__)
    parser.add_argument("--logins", type=int, default=3000, help="logins of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, by turns")
    parser.add_argument("--deadline", type=int, default=120, help="seconds a run may take")
    options = parser.parse_args(arguments)
    run = uuid.uuid4().hex[:8]
    watched: list[Throughput] = []
    unwatched: list[Throughput] = []
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    with private_cluster({}) as cluster, closing(Doorbell(cluster)) as doorbell:
        supervisor = Supervisor(cluster.layout)
        app = Celery(broker=doorbell.endpoints["broker_url"])

        def watch(is_watched: bool) -> None:
            if is_watched:
                supervisor.start_programs(_WATCHERS)
                processes = [p for p in cluster.processes if p.name in _WATCHERS]
                wait_until_ready(
                    cluster.layout, supervisor, processes, _READY_SECONDS, lambda _: None
                )
                app.control.enable_events()
            else:
                supervisor.stop_programs(_WATCHERS, _STOP_SECONDS)
                app.control.disable_events()

        doorbell.throughput(logins(_WARM_UP, f"{run}-warm"), _WARM_UP_SECONDS)
        for number in range(options.rounds):
            # Each kind comes first as often as second: a ledger grows.
            for is_watched in (True, False) if number % 2 == 0 else (False, True):
                watch(is_watched)
                batch = logins(options.logins, f"{run}-{number}-{is_watched}")
                measured = doorbell.throughput(batch, options.deadline)
                (watched if is_watched else unwatched).append(measured)
                kind = "watched  " if is_watched else "unwatched"
                print(f"{kind} {measured.logins_per_second:6.1f} logins a second", flush=True)
    _report(watched, unwatched)
    return 0 if all(each.is_complete for each in (*watched, *unwatched)) else 1


def _report(watched: Sequence[Throughput], unwatched: Sequence[Throughput]) -> None:
    on, off = (median([each.logins_per_second for each in runs]) for runs in (watched, unwatched))
    print(
        "Unwatched: no Prometheus, Alertmanager or Flower runs, and workers send no events."
        f"\nMedians: {on:.1f} watched, {off:.1f} unwatched: watching costs {100 * (1 - on / off):.1f}%"
    )


if __name__ == "__main__":
    sys.exit(main())
