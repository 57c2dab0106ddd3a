"""`python -m tests.bench.monitoring`: what being watched costs, by turns with and without it on one cluster."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing

from tests.bench.__main__ import private_cluster
from tests.bench.doorbell import Doorbell
from tests.bench.load import logins
from tests.bench.result import Throughput, median
from tests.bench.watching import UNWATCHED, Watching

_WARM_UP = 200
_WARM_UP_SECONDS = 60.0


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
        watching = Watching(cluster, doorbell.endpoints["broker_url"])
        doorbell.throughput(logins(_WARM_UP, f"{run}-warm"), _WARM_UP_SECONDS)
        for number in range(options.rounds):
            # Each kind comes first as often as second: a ledger grows.
            for is_watched in (True, False) if number % 2 == 0 else (False, True):
                if is_watched:
                    watching.start()
                else:
                    watching.stop()
                batch = logins(options.logins, f"{run}-{number}-{is_watched}")
                measured = doorbell.throughput(batch, options.deadline)
                (watched if is_watched else unwatched).append(measured)
                kind = "watched" if is_watched else UNWATCHED
                print(
                    f"{kind:<9} {measured.logins_per_second:6.1f} logins a second"
                    f"  {measured.cpu_milliseconds:6.2f} ms CPU a login",
                    flush=True,
                )
    _report(watched, unwatched)
    return 0 if all(each.is_complete for each in (*watched, *unwatched)) else 1


def _report(watched: Sequence[Throughput], unwatched: Sequence[Throughput]) -> None:
    on, off = (median([each.logins_per_second for each in runs]) for runs in (watched, unwatched))
    with_, without = (
        median([each.cpu_milliseconds for each in runs]) for runs in (watched, unwatched)
    )
    print(
        "Unwatched: no Prometheus, Alertmanager or Flower runs, and workers send no events."
        f"\nMedians: {on:.1f} logins a second watched, {off:.1f} unwatched:"
        f" watching costs {100 * (1 - on / off):.1f}% of the throughput"
        f"\n         {with_:.2f} ms CPU a login watched, {without:.2f} unwatched:"
        f" {100 * (1 - without / with_):.1f}% of the CPU is the watching's"
    )


if __name__ == "__main__":
    sys.exit(main())
