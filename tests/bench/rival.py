"""A side that Doorbell is compared with: a worker and a producer with services of their own on the private cluster."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis
from psycopg import sql

from deploy.local import postgres, rabbitmq
from deploy.local.cluster import Cluster
from deploy.local.layout import REPOSITORY
from deploy.local.ports import HOST
from deploy.local.process import ClusterError
from services.cli.migrations import migrate
from services.queries import load_queries
from tests.bench.cpu import Meter
from tests.bench.floor_steps import READY
from tests.bench.own import own_pids
from tests.bench.result import Throughput
from tests.bench.traffic import Counters
from tests.support.ports import free_port

_POLL_SECONDS = 1.0
"""When the last verdict was stored is the database's word: looking often would only cost both sides."""

_STARTS_SECONDS = 30.0
_STOPS_SECONDS = 20.0
_COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What a rival runs. `{processes}` in `worker` and `says` is the number of its processes.

    Attributes:
        app: the module with the workflow and `send`.
        worker: what follows `python -m` in the worker's command.
        ready: what its log says once it consumes.
        environment: what its processes are given besides addresses.
        has_our_schema: its database is a migrated one of ours.
    """

    name: str
    says: str
    app: str
    worker: str
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    has_our_schema: bool = False


_CELERY = "celery -A tests.bench.plain_app worker --loglevel=INFO --concurrency={processes}"

PLAIN = Kind(
    "plain",
    "one worker as in Celery's documentation, {processes} child processes, default settings,"
    " Redis backend; one producer calls .delay()",
    "tests.bench.plain_app",
    _CELERY,
    " ready.",
)
CAREFUL = Kind(
    "careful",
    "the same with late acks, confirms and a quorum queue",
    "tests.bench.plain_app",
    _CELERY,
    " ready.",
    {"RIVAL_IS_CAREFUL": "1"},
)
DRAMATIQ = Kind(
    "dramatiq",
    "dramatiq with confirms, {processes} processes of 8 threads, actors that send what follows,"
    " a group with a callback",
    "tests.bench.dramatiq_app",
    "dramatiq tests.bench.dramatiq_app --processes {processes}",
    "Worker process is ready for action.",
)
TASKIQ = Kind(
    "taskiq",
    "taskiq on aio-pika with confirms, {processes} processes, tasks that send what follows,"
    " joined by a counter in Redis",
    "tests.bench.taskiq_app",
    "taskiq worker tests.bench.taskiq_app:broker --workers {processes}",
    "Listening started.",
)
FLOOR = Kind(
    "floor",
    "a bare AMQP loop for each of the four pools, with the same messages, handlers and SQL; no HTTP",
    "tests.bench.floor_app",
    "tests.bench.floor",
    READY,
    has_our_schema=True,
)
KINDS = (PLAIN, CAREFUL, DRAMATIQ, TASKIQ, FLOOR)


class Rival:
    """Prepared services for one kind; `running` starts its worker for a while."""

    def __init__(self, cluster: Cluster, kind: Kind, workers: int) -> None:
        """Create the vhost and the database. workers: how many processes it has.

        Raises:
            ClusterError: redis-server is not installed, or the broker refuses.
        """
        if shutil.which("redis-server") is None:
            raise ClusterError(
                "redis-server is not installed, which Doorbell is compared with:"
                " call deploy/local/setup --dev --redis"
            )
        self._cluster = cluster
        self._kind = kind
        self._worker = kind.worker.format(processes=workers).split()
        self._root = cluster.layout.root / kind.name
        self._root.mkdir(exist_ok=True)
        self._redis_port = free_port()
        # In hexadecimal: rabbitmqctl takes what begins with a dash for an option.
        password = secrets.token_hex(16)
        self._create_vhost(password)
        self._database_url = self._create_database()
        self._database = psycopg.connect(self._database_url, autocommit=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._root),
            "PYTHONPATH": str(REPOSITORY),
            "RIVAL_BROKER": f"amqp://{kind.name}:{password}@{HOST}:{cluster.ports['rabbitmq']}/{kind.name}",
            "RIVAL_BACKEND": f"redis://{HOST}:{self._redis_port}/0",
            "RIVAL_DATABASE": self._database_url,
            "RIVAL_OUTLIER_API": f"http://{HOST}:{cluster.ports['outlier_api']}",
            "RIVAL_OUTLIER_API_KEY": (cluster.layout.secrets / "outlier_api_key")
            .read_text()
            .strip(),
            "RIVAL_TENANT": kind.name,
            "RIVAL_SMTP_PORT": str(cluster.ports["mail_sink"]),
            **kind.environment,
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, int]]:
        """Redis and the worker; yields their pids by name."""
        data = ["--port", str(self._redis_port), "--bind", HOST, "--dir", str(self._root)]
        with (
            self._process("redis", ["redis-server", *data]) as redis_pid,
            self._process("worker", [sys.executable, "-m", *self._worker]) as worker_pid,
        ):
            self._wait_until(self._redis_answers, "Redis")
            self._wait_until(self._is_consumed, f"the worker of {self._kind.name}")
            yield {"redis": redis_pid, f"{self._kind.name} worker": worker_pid}

    def warm_up(self, logins: Sequence[dict[str, Any]], seconds: float) -> None:
        """Send `logins` from one producer, and wait for their verdicts."""
        with self._sending(logins):
            self._wait([login["event_id"] for login in logins], time.monotonic() + seconds)

    def throughput(
        self, logins: Sequence[dict[str, Any]], seconds: float, pids: dict[str, int]
    ) -> Throughput:
        """Send `logins` from one producer, and wait for their verdicts.

        pids: the processes to account for.
        """
        events = [login["event_id"] for login in logins]
        counters = Counters(self._cluster.ports["rabbitmq_prometheus"])
        meter = Meter(pids | own_pids())
        deadline = time.monotonic() + seconds
        with self._sending(logins) as began:
            stored, last = self._wait(events, deadline)
            used = meter.read()
            # While the producer's connection is open, whose bytes count.
            traffic = counters.read()
        took = (last or time.time()) - began
        return Throughput(len(logins), stored, took, used, traffic)

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _sending(self, logins: Sequence[dict[str, Any]]) -> Iterator[float]:
        """A producer of these logins, until it is no longer needed; and when it began to send, as Unix time."""
        with (
            (self._root / "producer.log").open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.rival_send", self._kind.app],
                env=self._environment,
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as producer,
        ):
            assert producer.stdin is not None
            assert producer.stdout is not None
            try:
                producer.stdin.write("".join(json.dumps(login) + "\n" for login in logins))
                producer.stdin.close()
                first = producer.stdout.readline()
                if not first:
                    raise ClusterError(f"the producer of {self._kind.name} failed: see {log.name}")
                yield float(first)
            finally:
                producer.terminate()

    def _wait(self, events: Sequence[str], deadline: float) -> tuple[int, float | None]:
        name = "our_verdicts" if self._kind.has_our_schema else "verdicts"
        query = load_queries("tests.bench", "rival.sql")[name].encode()
        while True:
            row = self._database.execute(query, {"events": list(events)}).fetchone()
            assert row is not None
            if row[0] >= len(events) or time.monotonic() > deadline:
                return row[0], row[1].timestamp() if row[1] else None
            time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def _process(self, name: str, command: Sequence[str]) -> Iterator[int]:
        # Anew for each start: an earlier worker's "ready" must not be taken for this one's.
        with (self._root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOPS_SECONDS)
            except subprocess.TimeoutExpired:
                # Its children are in its own session, which nobody else is in.
                os.killpg(process.pid, 9)
                process.wait()

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis(HOST, self._redis_port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _is_consumed(self) -> bool:
        log = self._root / "worker.log"
        return self._kind.ready in log.read_text(errors="replace")

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _STARTS_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} does not start; the logs are in {self._root}")
            time.sleep(0.1)

    def _create_vhost(self, password: str) -> None:
        node = next(process for process in self._cluster.services if process.name == "rabbitmq")
        for arguments in (
            ("add_vhost", self._kind.name),
            ("add_user", self._kind.name, password),
            ("set_permissions", "-p", self._kind.name, self._kind.name, ".*", ".*", ".*"),
        ):
            done = subprocess.run(
                [rabbitmq.find_binary("rabbitmqctl"), *arguments],
                env={"PATH": os.environ["PATH"], **node.environment},
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMMAND_SECONDS,
            )
            if done.returncode:
                raise ClusterError(f"rabbitmqctl {arguments[0]} failed: {done.stderr.strip()}")

    def _create_database(self) -> str:
        url = postgres.url(self._cluster.layout, self._cluster.ports["postgres"])
        queries = load_queries("tests.bench", "rival.sql")
        with psycopg.connect(url, autocommit=True) as connection:
            name = sql.Identifier(self._kind.name)
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        own = url.removesuffix(postgres.DATABASE) + self._kind.name
        if self._kind.has_our_schema:
            migrate(own)
        with psycopg.connect(own, autocommit=True) as connection:
            query = queries["tenant" if self._kind.has_our_schema else "schema"]
            connection.execute(
                query.encode(), {"tenant": self._kind.name} if self._kind.has_our_schema else None
            )
        return own
