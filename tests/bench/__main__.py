"""`python -m tests.bench`: Doorbell and the same workflow on others' ground, measured side by side."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from deploy.local import cluster as local_cluster
from deploy.local.__main__ import parse_counts
from deploy.local.choices import Choices
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.process import ClusterError
from services.domain.errors import DoorbellError
from tests.bench import plot, report
from tests.bench.command import end_on_sigterm, positive, say
from tests.bench.doorbell import BATCH, Doorbell
from tests.bench.load import logins
from tests.bench.result import DOORBELL, Result, Side, Steady, Throughput
from tests.bench.rival import KINDS, Rival
from tests.bench.watching import SAYS, UNWATCHED, Watching

ROOT = REPOSITORY / ".local" / "bench"
"""Where the private cluster lives, unless told otherwise."""

_WARM_UP = 60
_WARM_UP_SECONDS = 30.0
_LATENCY_SECONDS = 40.0
_STEADY_PERCENT = (10, 80, 100)
_STEADY_SECONDS = 20.0
_SIDES = [UNWATCHED, *(kind.name for kind in KINDS)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when everything was measured, 1 when something ran into its deadline."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    load = os.getloadavg()[0]
    if text := report.warning(load, os.cpu_count() or 1):
        say(text)
    try:
        with private_cluster(options.processes, options.root) as cluster:
            result = _measure(cluster, options, load)
    except (ClusterError, DoorbellError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was started has been ended", file=sys.stderr)
        return 130
    print(report.as_text(result))
    if options.json:
        options.json.write_text(report.as_json(result) + "\n")
    if options.plot:
        plot.draw(result, options.plot)
    return 0 if result.is_complete else 1


def _measure(cluster: local_cluster.Cluster, options: argparse.Namespace, load: float) -> Result:
    run = uuid.uuid4().hex[:8]
    doorbell = Doorbell(cluster)
    with closing(doorbell), ExitStack() as stack:
        prepared = [
            (
                Side(kind.name, kind.says.format(processes=doorbell.workers)),
                stack.enter_context(closing(Rival(cluster, kind, doorbell.workers))),
            )
            for kind in KINDS
            if kind.name in options.against
        ]
        ours, unwatched = Side(DOORBELL, _says(doorbell.workers)), Side(UNWATCHED, SAYS)
        ourselves = [ours, *([unwatched] if UNWATCHED in options.against else [])]
        result = Result(os.cpu_count() or 1, load, [*ourselves, *(side for side, _ in prepared)])
        say("warming up")
        doorbell.warm_up(logins(_WARM_UP, f"{run}-warm"), _WARM_UP_SECONDS)
        say(f"single logins on the idle cluster: {options.singles}")
        singles = logins(options.singles, f"{run}-singles")
        result.latency = doorbell.latency(singles, _LATENCY_SECONDS)
        for number in range(1, options.rounds + 1):
            if number > 1:
                doorbell.start()
                doorbell.warm_up(logins(_WARM_UP, f"{run}-warm{number}"), _WARM_UP_SECONDS)
            batch = logins(options.logins, f"{run}-{number}")
            # Whoever comes second finds warmer processes, and fuller tables.
            for side in ourselves if number % 2 else reversed(ourselves):
                say(f"round {number}, {side.name}: {options.logins} logins")
                if side is ours:
                    side.runs.append(doorbell.throughput(batch, options.deadline))
                else:
                    others = logins(options.logins, f"{run}-{number}-{UNWATCHED}")
                    side.runs.append(_unwatched(cluster, doorbell, others, options.deadline))
            if number == 1:
                result.steady = _steady(doorbell, ours.logins_per_second or 0.0, run)
            doorbell.stop()
            with Watching(cluster, doorbell.endpoints["broker_url"]).without_metrics():
                for side, rival in prepared:
                    say(f"round {number}, {side.name}: {options.logins} logins")
                    side.runs.append(_rival_round(doorbell, rival, batch, options.deadline))
            if not result.is_complete:
                break  # what is left over would disturb the next round
    return result


def _unwatched(
    cluster: local_cluster.Cluster,
    doorbell: Doorbell,
    batch: Sequence[dict[str, Any]],
    deadline: float,
) -> Throughput:
    watching = Watching(cluster, doorbell.endpoints["broker_url"])
    watching.stop()
    try:
        return doorbell.throughput(batch, deadline)
    finally:
        watching.start()


def _rival_round(
    doorbell: Doorbell,
    rival: Rival,
    batch: Sequence[dict[str, Any]],
    deadline: float,
) -> Throughput:
    with rival.running() as pids:
        # Of the cluster only what all sides use is left.
        everything = {name: pid for name, pid in doorbell.pids().items() if pid} | pids
        rival.warm_up(logins(_WARM_UP, uuid.uuid4().hex[:8]), _WARM_UP_SECONDS)
        return rival.throughput(batch, deadline, everything)


def _steady(doorbell: Doorbell, peak: float, run: str) -> list[Steady]:
    measured = []
    for percent in _STEADY_PERCENT:
        rate = max(1.0, peak * percent / 100)
        say(f"{rate:.0f} logins a second, {percent} per cent of the peak")
        number = int(rate * _STEADY_SECONDS)
        measured.append(doorbell.steady(logins(number, f"{run}-{percent}"), percent, rate))
    return measured


def _says(workers: int) -> str:
    return (
        f"{workers} worker processes, a gateway, beat, Flower;"
        f" one client posts {BATCH} logins at a time to /v1/logins:batch"
    )


@contextmanager
def private_cluster(
    processes: Mapping[str, int], root: Path = ROOT
) -> Iterator[local_cluster.Cluster]:
    """A cluster of our own; removed at the end, or stopped with its logs kept after a failure."""
    layout = Layout(root.resolve())
    if layout.root.exists() and not layout.ports.exists():
        raise ClusterError(f"{layout.root} is not a cluster's directory: nothing was touched")
    local_cluster.remove(layout)
    is_well = False
    try:
        say("starting a private cluster")
        yield local_cluster.up(layout, Choices(processes), lambda _: None, usual_ports=False)
        is_well = True
    finally:
        say("ending what was started")
        if is_well:
            local_cluster.remove(layout)
        else:
            local_cluster.down(layout)
            say(f"its logs are kept in {layout.logs}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--logins", type=positive, default=1500, help="logins of each run (default: 1500)")
    add("--singles", type=positive, default=120, help="single logins, for p50 and p99")
    add("--rounds", type=positive, default=1, help="runs of each side, by turns")
    add("--deadline", type=positive, default=75, help="seconds after which a run is cut off")
    add("--processes", type=parse_counts, default={}, metavar="POOL=NUMBER,...")
    add("--json", type=Path, metavar="FILE", help="write all numbers that the tables are made of")
    add("--plot", type=Path, metavar="FILE", help="draw the sides' figures into a PNG")
    add(
        "--against",
        type=_names,
        default=_SIDES,
        metavar="NAME,...",
        help=f"sides to compare with, of {', '.join(_SIDES)} (default: all)",
    )
    add(
        "--root",
        type=Path,
        default=ROOT,
        metavar="DIR",
        help="the private cluster's directory; deleted at the end",
    )
    return parser


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in _SIDES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_SIDES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
