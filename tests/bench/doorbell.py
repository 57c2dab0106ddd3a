"""Doorbell's side: a private local cluster, loaded through its HTTP door."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import requests

from deploy.local.cluster import Cluster
from deploy.local.readiness import wait_until_ready
from deploy.local.supervision import Supervisor
from services.queries import load_queries
from tests.bench.cpu import Meter
from tests.bench.own import own_pids
from tests.bench.result import Latency, Steady, Throughput
from tests.bench.traffic import Counters

BATCH = 50
"""Logins in one POST /v1/logins:batch; one client sends them one after another."""

_POLL_SECONDS = 1.0
"""When the last verdict was stored is the database's word: looking often would only cost both sides."""

_GLANCE_SECONDS = 0.002
_TICK_SECONDS = 0.1
_READY_SECONDS = 60.0
_STOP_SECONDS = 60.0
_DRAIN_SECONDS = 20.0


class Doorbell:
    """The running product, its database, and an application that reports logins to it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._supervisor = Supervisor(cluster.layout)
        endpoints: dict[str, str] = json.loads(cluster.layout.endpoints.read_text())
        self.endpoints = endpoints
        self._door = f"{endpoints['gateway']}/v1/logins"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {endpoints['api_key']}"
        self._database = psycopg.connect(endpoints["database_url"], autocommit=True)
        self._queries = load_queries("tests.bench", "measure.sql")

    @property
    def workers(self) -> int:
        """How many worker processes all pools have together."""
        return sum(process.name.partition(".")[2] != "" for process in self._cluster.product)

    def start(self) -> None:
        """Start the product's processes, and wait until they are ready."""
        self._supervisor.start_programs(process.name for process in self._cluster.product)
        wait_until_ready(
            self._cluster.layout,
            self._supervisor,
            self._cluster.product,
            _READY_SECONDS,
            lambda _: None,
        )

    def stop(self) -> None:
        """Stop the product's processes, so that they cost the other side nothing."""
        names = [process.name for process in self._cluster.product]
        self._supervisor.stop_programs(names, _STOP_SECONDS)

    def stop_pools(self) -> None:
        """Stop the workers alone: the door goes on taking logins."""
        names = [it.name for it in self._cluster.product if "." in it.name]
        self._supervisor.stop_programs(names, _STOP_SECONDS)

    def pids(self) -> dict[str, int]:
        """The cluster's processes by name."""
        return {name: state["pid"] for name, state in self._supervisor.states().items()}

    def warm_up(self, logins: Sequence[dict[str, Any]], seconds: float) -> None:
        """Post `logins`, and wait for their verdicts and mails."""
        deadline = time.monotonic() + seconds
        self._wait(self._post(logins), deadline)
        self._drain(deadline)

    def throughput(self, logins: Sequence[dict[str, Any]], seconds: float) -> Throughput:
        """Post `logins` as fast as the door takes them, and wait for their verdicts."""
        workflows: list[UUID] = []
        counters = Counters(self._cluster.ports["rabbitmq_prometheus"])
        meter = Meter(self.pids() | own_pids())
        deadline = time.monotonic() + seconds
        began = time.time()
        for start in range(0, len(logins), BATCH):
            if time.monotonic() > deadline:
                break
            workflows += self._post(logins[start : start + BATCH])
        stored, last = self._wait(workflows, deadline)
        self._drain(min(deadline, time.monotonic() + _DRAIN_SECONDS))
        took = (last or time.time()) - began
        return Throughput(len(logins), stored, took, meter.read(), counters.read())

    def latency(self, logins: Sequence[dict[str, Any]], seconds: float) -> Latency:
        """Post `logins` one after another, each when the one before has its verdict."""
        deadline = time.monotonic() + seconds
        meter = Meter(self.pids() | own_pids())
        seen: dict[UUID, float] = {}
        for login in logins:
            began = time.perf_counter()
            workflow = self._post_one(login)
            while not self._row("has_verdict", workflow=workflow)[0]:
                if time.monotonic() > deadline:
                    return self._latency(len(logins), seen, meter)
                time.sleep(_GLANCE_SECONDS)
            seen[workflow] = time.perf_counter() - began
        return self._latency(len(logins), seen, meter)

    def steady(self, logins: Sequence[dict[str, Any]], percent_of_peak: int, rate: float) -> Steady:
        """Post `logins` so many a second, ten times in a second; then wait until all have ended."""
        meter = Meter(self.pids() | own_pids())
        workflows: list[UUID] = []
        began = time.monotonic()
        while len(workflows) < len(logins):
            due = min(len(logins), int((time.monotonic() - began) * rate) + 1)
            if chosen := logins[len(workflows) : min(due, len(workflows) + BATCH)]:
                workflows += self._post(chosen)
            time.sleep(_TICK_SECONDS)
        cpu = meter.read()
        self._drain(time.monotonic() + _DRAIN_SECONDS)
        verdicts, notices = (
            [float(seconds) for (seconds,) in self._rows(query, workflows=workflows)]
            for query in ("latencies", "notice_latencies")
        )
        return Steady(percent_of_peak, rate, len(logins), verdicts, notices, cpu)

    def drain(self, seconds: float) -> bool:
        """Wait until no workflow and no notice is under way; false: some are still."""
        self._drain(time.monotonic() + seconds)
        return not self.unfinished()

    def unfinished(self) -> int:
        """How many workflows and notices are under way."""
        return int(self._row("unfinished")[0])

    def latencies(self, workflows: Sequence[str]) -> tuple[list[float], list[float]]:
        """Seconds from accepted to verdict, and to the notice of a new device, of those that have one."""
        verdicts, notices = (
            [float(seconds) for (seconds,) in self._rows(query, workflows=workflows)]
            for query in ("latencies", "notice_latencies")
        )
        return verdicts, notices

    def verdicts(self) -> int:
        """How many logins have one."""
        return int(self._row("all_verdicts")[0])

    def ended_well(self, workflows: Sequence[str]) -> int:
        """How many of these are done, each with a verdict."""
        return int(self._row("ended_well", workflows=workflows)[0])

    def close(self) -> None:
        self._session.close()
        self._database.close()

    def _latency(self, asked: int, seen: dict[UUID, float], meter: Meter) -> Latency:
        rows = self._rows("latencies", workflows=list(seen))
        return Latency(asked, [float(row[0]) for row in rows], list(seen.values()), meter.read())

    def _post_one(self, login: dict[str, Any]) -> UUID:
        answer = self._session.post(self._door, json=login, timeout=30)
        answer.raise_for_status()
        return UUID(answer.json()["workflow_id"])

    def _post(self, logins: Sequence[dict[str, Any]]) -> list[UUID]:
        while True:
            answer = self._session.post(f"{self._door}:batch", json={"logins": logins}, timeout=30)
            if answer.status_code == 503:  # it sheds load: the time counts
                time.sleep(float(answer.headers.get("Retry-After", "1")))
                continue
            answer.raise_for_status()
            results = answer.json()["results"]
            refused = [result for result in results if result["status"] != 202]
            if refused:
                raise RuntimeError(f"the gateway refused a login: {refused[0]}")
            return [UUID(result["workflow_id"]) for result in results]

    def _wait(self, workflows: list[UUID], deadline: float) -> tuple[int, float | None]:
        """Wait for all verdicts; returns how many there are, and when the last was stored."""
        while True:
            (stored,) = self._row("verdicts", workflows=workflows)
            if stored >= len(workflows) or time.monotonic() > deadline:
                (last,) = self._row("last_verdict", workflows=workflows)
                assert last is None or isinstance(last, datetime)
                return stored, last.timestamp() if last else None
            time.sleep(_POLL_SECONDS)

    def _drain(self, deadline: float) -> None:
        """Mails go out after the verdict; their cost belongs to the run."""
        while self._row("unfinished")[0] and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _row(self, query: str, **values: object) -> tuple[Any, ...]:
        [row] = self._rows(query, **values)
        return row

    def _rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        return self._database.execute(self._queries[query].encode(), values).fetchall()
