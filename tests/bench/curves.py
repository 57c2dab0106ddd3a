"""`python -m tests.bench.curves`: throughput against processes, the ledger's size, and how much waits already."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.bench.__main__ import private_cluster
from tests.bench.command import numbers
from tests.bench.cpu import Meter
from tests.bench.doorbell import BATCH, Doorbell
from tests.bench.load import logins
from tests.bench.own import own_pids
from tests.bench.result import Throughput, median
from tests.bench.senders import TICK_SECONDS, Senders

_POOLS = ("device_checks", "notifications", "db_writes", "external_api")
_WARM_UP = 200
_DEADLINE_SECONDS = 120.0
_SENDERS, _TOGETHER = 3, 200
_SINGLES_PER_SECOND = 5.0
_MOST_JUDGED = 10_000
"""Of those that wait: a million take more than an hour, and the pools' pace is the same after some thousands."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of a curve. x: processes of each pool, finished steps in the ledger, or logins that wait.

    single_seconds: from accepted to verdict, the median of logins that were reported one by one meanwhile.
    """

    x: int
    logins_per_second: float
    cpu_milliseconds: float
    postgres_milliseconds: float
    single_seconds: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write and draw; 0 when every run ended in time."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curves", description=__doc__)
    add = parser.add_argument
    add("--logins", type=int, default=1500, help="logins of each run")
    add("--processes", type=numbers, default=[1, 2, 3], metavar="N,...", help="of each pool")
    add("--steps", type=numbers, default=[0, 100_000, 1_000_000], metavar="N,...", help="finished")
    add("--waiting", type=numbers, default=[0, 10_000], metavar="N,...", help="logins at the start")
    add("--json", type=Path, metavar="FILE", help="write the numbers")
    add("--plot", type=Path, metavar="FILE", help="draw them into a PNG")
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    by_processes = _by_processes(options.processes, options.logins)
    by_steps = _by_steps(sorted(options.steps), options.logins)
    by_waiting = _by_waiting(sorted(options.waiting), options.logins)
    curves = {
        "processes of each pool": by_processes,
        "finished steps in the ledger": by_steps,
        "logins that wait": by_waiting,
    }
    if options.json:
        found = {name: [asdict(point) for point in points] for name, points in curves.items()}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        draw(curves, options.plot)
    return 0


def _by_processes(numbers: Sequence[int], number_of_logins: int) -> list[Point]:
    points = []
    for number in numbers:
        counts = dict.fromkeys(_POOLS, number)
        with private_cluster(counts) as cluster, closing(Doorbell(cluster)) as doorbell:
            points.append(_point(doorbell, number, number_of_logins))
        _tell("processes of each pool", points[-1])
    return points


def _by_steps(numbers: Sequence[int], number_of_logins: int) -> list[Point]:
    points = []
    with private_cluster({}) as cluster, closing(Doorbell(cluster)) as doorbell:
        for number in numbers:
            if number:
                fill(doorbell.endpoints["database_url"], number)
            points.append(_point(doorbell, number, number_of_logins))
            _tell("finished steps", points[-1])
    return points


def _by_waiting(numbers: Sequence[int], number_of_logins: int) -> list[Point]:
    points = []
    for number in numbers:
        with private_cluster({}) as cluster, closing(Doorbell(cluster)) as doorbell:
            doorbell.throughput(logins(_WARM_UP, "warm"), _DEADLINE_SECONDS)
            doorbell.stop_pools()
            waiting = Senders(doorbell, _SENDERS, _TOGETHER, None)
            waiting.start()
            waiting.wait_for(number)
            waiting.stop()
            doorbell.start()
            points.append(_point_behind(doorbell, number, number_of_logins))
        _tell("logins wait", points[-1])
    return points


def _point_behind(doorbell: Doorbell, x: int, number: int) -> Point:
    """The next verdicts: of what waits already, and of `number` that come in batches behind it, beside single ones.

    The first ones are no measure: pools work through what waits for them, and few logins are done at first.
    """
    behind, singles = (
        Senders(doorbell, 1, BATCH, None),
        Senders(doorbell, 1, 1, _SINGLES_PER_SECOND),
    )
    before, meter = doorbell.verdicts(), Meter(doorbell.pids() | own_pids())
    behind.start()
    singles.start()
    while (judged := doorbell.verdicts() - before) < min(x, _MOST_JUDGED) + number:
        time.sleep(TICK_SECONDS)
        behind.check()
        singles.check()
        if len(behind.workflows) >= number:
            behind.pause()
    cpu = meter.read()
    behind.stop()
    singles.stop()
    seconds, _ = doorbell.latencies(singles.workflows)
    milliseconds = {name: 1000 * used / judged for name, used in cpu.by_process.items()}
    return Point(
        x,
        judged / cpu.seconds,
        sum(milliseconds.values()),
        milliseconds["postgres"],
        median(seconds) if seconds else None,
    )


def _point(doorbell: Doorbell, x: int, number: int) -> Point:
    run = uuid.uuid4().hex[:8]
    doorbell.throughput(logins(_WARM_UP, f"{run}-warm"), _DEADLINE_SECONDS)
    measured = doorbell.throughput(logins(number, run), _DEADLINE_SECONDS)
    if not measured.is_complete:
        raise SystemExit(f"{measured.stored} of {measured.sent} logins were judged in time at {x}")
    return Point(x, measured.logins_per_second, measured.cpu_milliseconds, _postgres(measured))


def _postgres(measured: Throughput) -> float:
    return measured.cpu_per_login.get("postgres", 0.0)


def fill(database_url: str, steps: int) -> None:
    """Copy finished workflows under new ids until the ledger has so many finished steps.

    Raises:
        ValueError: there is no finished workflow to copy.
    """
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        [(there,)] = connection.execute("SELECT count(*) FROM step WHERE state = 'done'")
        if not there:
            raise ValueError("no step has ended yet: there is nothing to copy")
        times = max(0, -(-(steps - there) // there))
        salt = uuid.uuid4().hex
        # An event's id is its application's only once.
        _copy(
            connection, "workflow", {"id", "event_id"}, "workflow.state <> 'accepted'", salt, times
        )
        ended: LiteralString = (
            "step.state = 'done' AND EXISTS (SELECT FROM workflow w"
            " WHERE w.id = step.workflow_id AND w.state <> 'accepted')"
        )
        _copy(connection, "step", {"id", "workflow_id"}, ended, salt, times)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE workflow, step")


def _copy(
    connection: psycopg.Connection[Any],
    table: str,
    ids: AbstractSet[str],
    which: LiteralString,
    salt: str,
    times: int,
) -> None:
    columns = connection.execute(
        "SELECT column_name, udt_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'"
        " ORDER BY ordinal_position",
        (table,),
    ).fetchall()
    values = [
        sql.SQL("md5({name}::text || {salt} || n)::uuid::{kind}").format(
            name=sql.Identifier(table, name), salt=sql.Literal(salt), kind=sql.Identifier(kind)
        )
        if name in ids
        else sql.Identifier(table, name)
        for name, kind in columns
    ]
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {values}"
            " FROM {table}, generate_series(1, {times}) AS n WHERE {which}"
        ).format(
            table=sql.Identifier(table),
            names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
            values=sql.SQL(", ").join(values),
            times=sql.Literal(times),
            which=sql.SQL(which),
        )
    )


def draw(curves: dict[str, list[Point]], path: Path) -> None:
    """Each curve beside the other, logins a second and CPU, into a PNG."""
    # Only who draws waits for it to be imported.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(curves), 4), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        xs = [point.x for point in points]
        axes.plot(xs, [point.logins_per_second for point in points], "o-", label="logins a second")
        axes.plot(xs, [point.cpu_milliseconds for point in points], "s-", label="ms of CPU a login")
        axes.plot(
            xs, [point.postgres_milliseconds for point in points], "^-", label="PostgreSQL's of it"
        )
        axes.set(xlabel=name, ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _tell(name: str, point: Point) -> None:
    print(
        f"{point.x:>9,} {name}: {point.logins_per_second:6.1f} logins a second,"
        f" {point.cpu_milliseconds:5.1f} ms CPU a login, {point.postgres_milliseconds:4.1f} of it PostgreSQL's"
        + (f"; a single one {point.single_seconds:.2f} s" if point.single_seconds else ""),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
