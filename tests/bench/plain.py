"""The plain side: its own Redis, vhost and database on the private cluster, a worker and a producer."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import redis

from deploy.local import postgres, rabbitmq
from deploy.local.cluster import Cluster
from deploy.local.layout import REPOSITORY
from deploy.local.ports import HOST
from deploy.local.process import ClusterError
from services.queries import load_queries
from tests.bench.cpu import Meter
from tests.bench.own import own_pids
from tests.bench.result import Throughput
from tests.support.ports import free_port

_VHOST = "plain"
_POLL_SECONDS = 0.25
_STARTS_SECONDS = 30.0
_STOPS_SECONDS = 20.0
_COMMAND_SECONDS = 60.0


class Plain:
    """Prepared services for the plain workflow; `running` starts its worker for a while."""

    def __init__(self, cluster: Cluster, workers: int) -> None:
        """Create the vhost and the database.

        Raises:
            ClusterError: redis-server is not installed, or the broker refuses.
        """
        if shutil.which("redis-server") is None:
            raise ClusterError(
                "redis-server is not installed, which the plain workflow needs:"
                " call deploy/local/setup --dev --redis"
            )
        self._cluster = cluster
        self._workers = workers
        self._root = cluster.layout.root / "plain"
        self._root.mkdir(exist_ok=True)
        self._redis_port = free_port()
        password = secrets.token_urlsafe(16)
        self._create_vhost(password)
        self._database_url = self._create_database()
        self._database = psycopg.connect(self._database_url, autocommit=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._root),
            "PYTHONPATH": str(REPOSITORY),
            "PLAIN_BROKER": f"pyamqp://{_VHOST}:{password}@{HOST}:{cluster.ports['rabbitmq']}/{_VHOST}",
            "PLAIN_BACKEND": f"redis://{HOST}:{self._redis_port}/0",
            "PLAIN_DATABASE": self._database_url,
            "PLAIN_OUTLIER_API": f"http://{HOST}:{cluster.ports['outlier_api']}",
            "PLAIN_OUTLIER_API_KEY": (cluster.layout.secrets / "outlier_api_key")
            .read_text()
            .strip(),
            "PLAIN_SMTP_PORT": str(cluster.ports["mail_sink"]),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, int]]:
        """Redis and a worker as in the documentation; yields their pids by name."""
        data = ["--port", str(self._redis_port), "--bind", HOST, "--dir", str(self._root)]
        worker = ["-A", "tests.bench.plain_app", "worker", "--loglevel=INFO"]
        worker.append(f"--concurrency={self._workers}")
        with (
            self._process("redis", ["redis-server", *data]) as redis_pid,
            self._process("worker", [sys.executable, "-m", "celery", *worker]) as worker_pid,
        ):
            self._wait_until(self._redis_answers, "Redis")
            self._wait_until(self._is_consumed, "the plain worker")
            yield {"redis": redis_pid, "plain worker": worker_pid}

    def throughput(
        self, logins: Sequence[dict[str, Any]], seconds: float, pids: dict[str, int]
    ) -> Throughput:
        """Send `logins` by `.delay()` from one producer, and wait for their verdicts.

        pids: the processes to account for.
        """
        events = [login["event_id"] for login in logins]
        meter = Meter(pids | own_pids())
        deadline = time.monotonic() + seconds
        with (
            (self._root / "producer.log").open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.plain_send"],
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
                    raise ClusterError(f"the plain producer failed: see {log.name}")
                began = float(first)
                stored, last = self._wait(events, deadline)
            finally:
                producer.terminate()
        return Throughput(len(logins), stored, (last or time.time()) - began, meter.read())

    def close(self) -> None:
        self._database.close()

    def _wait(self, events: Sequence[str], deadline: float) -> tuple[int, float | None]:
        query = load_queries("tests.bench", "plain.sql")["verdicts"].encode()
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
        return " ready." in log.read_text(errors="replace")

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _STARTS_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} does not start; the logs are in {self._root}")
            time.sleep(0.1)

    def _create_vhost(self, password: str) -> None:
        node = next(process for process in self._cluster.services if process.name == "rabbitmq")
        for arguments in (
            ("add_vhost", _VHOST),
            ("add_user", _VHOST, password),
            ("set_permissions", "-p", _VHOST, _VHOST, ".*", ".*", ".*"),
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
        queries = load_queries("tests.bench", "plain.sql")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(queries["database"].encode())
        own = url.removesuffix(postgres.DATABASE) + _VHOST
        with psycopg.connect(own, autocommit=True) as connection:
            connection.execute(queries["schema"].encode())
        return own
