"""What a login costs each container: the slopes of deploy/scaling.md, printed; nothing here is a limit."""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.compose.stack import Stack, service_of
from tests.compose.surroundings import Surroundings, surroundings

pytestmark = pytest.mark.timeout(900)

RATES = (4.0, 8.0, 16.0)
SECONDS = 45.0
SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Used:
    """What one step of the load used; seconds of CPU by service, bytes in the database."""

    rate: float
    seconds: float
    cpu: Mapping[str, float]
    wal: int
    size: int


@pytest.fixture(scope="module")
def fleet(stack: Stack, api_key: str) -> Iterator[Surroundings]:
    with surroundings(stack, api_key) as fleet:
        yield fleet


def test_what_a_login_costs(
    fleet: Surroundings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several rates, one after the other; the slope is what one login more in a second needs."""
    steps = [_step(fleet, tmp_path / str(rate), rate) for rate in RATES]
    with capsys.disabled():
        print("", *_table(steps), sep="\n")


def _step(fleet: Surroundings, directory: Path, rate: float) -> Used:
    directory.mkdir()
    # The oracle counts every dead letter; those of earlier rates are none of this one's.
    fleet.stack.doorbell("dead", "drop", "--all", "--yes")
    time.sleep(SETTLE_SECONDS)
    cpu, (wal, size) = cpu_seconds(fleet.stack), _written(fleet.stack)
    began = time.monotonic()
    found, _ = fleet.run(
        lambda _, load: load.wait(),
        directory,
        seed=int(rate),
        logins=int(rate * SECONDS),
        rate=rate,
    )
    assert found.is_well, found.explain()
    after, (wal_after, size_after) = cpu_seconds(fleet.stack), _written(fleet.stack)
    return Used(
        rate,
        time.monotonic() - began,
        {service: after[service] - cpu[service] for service in cpu},
        wal_after - wal,
        size_after - size,
    )


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """What each service's containers have used since they were started."""
    used: defaultdict[str, float] = defaultdict(float)
    engine = httpx.HTTPTransport(uds=urlsplit(os.environ["DOCKER_HOST"]).path)
    with httpx.Client(transport=engine, base_url="http://engine", timeout=30) as client:
        for container in stack.containers():
            if container["State"]["Running"]:
                answer = client.get(
                    f"/containers/{container['Id']}/stats",
                    params={"stream": "false", "one-shot": "true"},
                )
                total = answer.raise_for_status().json()["cpu_stats"]["cpu_usage"]["total_usage"]
                used[service_of(container)] += total / 1e9
    return dict(used)


def _written(stack: Stack) -> tuple[int, int]:
    """Bytes of WAL since the beginning, and of the database now."""
    url = stack.secret("database_url")
    url = url.replace(f"@{urlsplit(url).hostname}:", f"@{stack.address('postgres')}:")
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute(
            "SELECT pg_current_wal_lsn() - '0/0', pg_database_size(current_database())"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _table(steps: list[Used]) -> Iterator[str]:
    """For each service: milliseconds of CPU for a login more, and the share of a core without any."""
    yield f"{'service':<24}{'ms CPU a login':>15}{'idle, % of a core':>19}"
    rows = []
    for service in steps[0].cpu:
        # Over the time that was measured, which is longer than the load by what the end takes.
        rates = [step.rate * SECONDS / step.seconds for step in steps]
        cores = [step.cpu[service] / step.seconds for step in steps]
        line = statistics.linear_regression(rates, cores)
        rows.append((1000 * line.slope, 100 * line.intercept, service))
    for slope, idle, service in sorted(rows, reverse=True):
        yield f"{service:<24}{slope:>15.2f}{idle:>19.1f}"
    yield f"{'all':<24}{sum(row[0] for row in rows):>15.2f}{sum(row[1] for row in rows):>19.1f}"
    logins = sum(step.rate * SECONDS for step in steps)
    yield f"bytes of WAL a login: {sum(step.wal for step in steps) / logins:,.0f}"
    yield f"bytes of database a login: {sum(step.size for step in steps) / logins:,.0f}"
