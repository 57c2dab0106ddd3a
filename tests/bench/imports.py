"""What an import of logins costs: how many a second, and the memory of each process meanwhile."""

from __future__ import annotations

import argparse
import csv
import os
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.cli.importing import Importer
from services.cli.login_files import read_logins
from tests.bench.cpu import Meter
from tests.support.cluster import KEY, Cluster, running_cluster
from tests.support.fleet import doorbell_node
from tests.support.postgres import PrivatePostgres

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.{1} Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 Mobile Safari/537.36",
)
_LOGINS_OF_USER = 10
_BEGAN = datetime(2025, 12, 1, tzinfo=UTC)
_MIB = 1024 * 1024


def write_logins(path: Path, logins: int, seed: int = 1) -> None:
    """A CSV file in the order of time: each user has some ten logins, from two devices and two networks."""
    drawn = random.Random(seed)
    users = max(1, logins // _LOGINS_OF_USER)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("user_id", "occurred_at", "ip", "user_agent", "event_id", "email"))
        for number in range(logins):
            user = drawn.randrange(users)
            agent = _AGENTS[(user + (drawn.random() < 0.3)) % len(_AGENTS)]
            at = _BEGAN + timedelta(seconds=number * 20_000_000 / logins)
            address = user * 7919 + (drawn.random() < 0.2)
            rows.writerow(
                (
                    f"user-{user}",
                    at.isoformat(),
                    f"{(80, 81, 91, 185)[user % 4]}.{address // 65536 % 256}.{address // 256 % 256}.{address % 256}",
                    agent.format(120 + number * 12 // logins, number * 6 // logins),
                    f"event-{number}",
                    f"user-{user}@example.org",
                )
            )


def measure(logins: int) -> Iterator[dict[str, Any]]:
    """Import so many into a cluster of one process a pool, and say how it went at each quarter and at the end."""
    with (
        tempfile.TemporaryDirectory() as name,
        doorbell_node() as node,
        PrivatePostgres(fsync="on", full_page_writes="on", shared_buffers="256MB") as postgres,
        postgres.database() as url,
        running_cluster(node, url, Path(name)) as cluster,
    ):
        Path(name).chmod(0o755)
        file = Path(name) / "logins.csv"
        write_logins(file, logins)
        pids = {name: process.pid for name, process in cluster.fleet.processes.items()}
        pids |= {"postgres": postgres.pid, "rabbitmq": node.pid, "command": os.getpid()}
        yield from _import(cluster, pids, file, logins)


def _import(
    cluster: Cluster, pids: dict[str, int], file: Path, logins: int
) -> Iterator[dict[str, Any]]:
    meter = Meter(pids)
    put_in = 0.0
    seen = [_look(meter, 0)]

    def look(found: dict[str, Any]) -> None:
        nonlocal put_in
        if found["state"] != "uploading":
            put_in = put_in or meter.read().seconds
        done = found["accepted"] + found["known"] - found["unlearned"]
        if len(seen) <= 4 and done >= logins * len(seen) / 4:
            seen.append(_look(meter, done))

    importer = Importer(cluster.url, KEY, look)
    with file.open(newline="") as lines:
        outcome = importer.run("measured", read_logins(lines))
    used = meter.read()
    yield from seen
    yield {
        "state": outcome.found["state"],
        "accepted": outcome.found["accepted"],
        "put_in_seconds": round(put_in, 1),
        "seconds": round(used.seconds, 1),
        "per_second": round(logins / used.seconds),
        "load": used.load,
        "others_cpu_seconds": round(used.others, 1),
        "cpu_microseconds_a_login": {
            name: round(seconds * 1e6 / logins) for name, seconds in used.by_process.items()
        },
        "all": round(used.total * 1e6 / logins),
        "per_second_on_two_cores": round(2 * logins / used.total),
    }


def _look(meter: Meter, done: int) -> dict[str, Any]:
    used = meter.read()
    memory = {name: size // _MIB for name, size in used.memory.items()}
    return {"applied": done, "seconds": round(used.seconds, 1), "memory_mib": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logins", type=int, default=100_000)
    for each in measure(parser.parse_args().logins):
        print(each, flush=True)


if __name__ == "__main__":
    main()
