"""The product's own processes in a local cluster, each with the secrets it needs and no more."""

from __future__ import annotations

import functools
import hashlib
import os
import smtplib
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local import postgres, rabbitmq
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.monitoring import answers
from deploy.local.passwords import read_or_make
from deploy.local.ports import HOST
from deploy.local.process import ClusterError, Probe, Process
from routing.commands import worker_command
from routing.topology import Topology

_SOURCES = ("services", "routing", "deploy/local")
_STOP_MARGIN_SECONDS = 5
"""A worker ends itself after its grace period; the supervisor's kill is for one that does not."""

_NICE = {"external_api": 10, "db_writes": 10}
_USUAL_NICE = 2
"""How far pools step back for the gateway, where one machine has all of it; scores most, as no user waits for them."""


def neighbours(layout: Layout, ports: Mapping[str, int]) -> list[Process]:
    """What stands around the product: the reference outlier API and the mail sink."""
    outlier_api = f"http://{HOST}:{ports['outlier_api']}"
    return [
        _python(
            layout,
            "outlier_api",
            (
                "-m",
                "services.outlier",
                "--host",
                HOST,
                "--port",
                str(ports["outlier_api"]),
                "--database",
                str(layout.state / "outlier.sqlite"),
                "--api-key-file",
                str(_outlier_api_key(layout)),
            ),
            answers(f"{outlier_api}/healthz"),
            address=outlier_api,
        ),
        _python(
            layout,
            "mail_sink",
            (
                "-m",
                "deploy.local.mail_sink",
                "--host",
                HOST,
                "--port",
                str(ports["mail_sink"]),
                "--maildir",
                str(layout.mail),
            ),
            lambda: _greet(ports["mail_sink"]),
            address=f"{HOST}:{ports['mail_sink']}",
        ),
    ]


def workers(
    layout: Layout, ports: Mapping[str, int], topology: Topology, counts: Mapping[str, int]
) -> list[Process]:
    """The worker processes: `counts` says how many for each pool."""
    return [
        _worker(layout, ports, topology, pool, number)
        for pool, count in counts.items()
        for number in range(1, count + 1)
    ]


def gateway(layout: Layout, ports: Mapping[str, int], topology: Topology) -> Process:
    """The HTTP door."""
    address = f"http://{HOST}:{ports['gateway']}"
    return _python(
        layout,
        "gateway",
        ("-m", "services.gateway"),
        answers(f"{address}/readyz"),
        environment=_connections(layout, ports, topology, "gateway")
        | {"DOORBELL_LISTEN_HOST": HOST, "DOORBELL_LISTEN_PORT": str(ports["gateway"])},
        stop_seconds=20,
        address=address,
    )


def schedule(layout: Layout, ports: Mapping[str, int], topology: Topology) -> Process:
    """Beat, of which one runs."""
    metrics = f"http://{HOST}:{ports['beat']}/metrics"
    return _python(
        layout,
        "schedule",
        ("-m", "services.schedule"),
        answers(metrics),
        environment=_connections(layout, ports, topology, "beat")
        | {
            "DOORBELL_METRICS_HOST": HOST,
            "DOORBELL_METRICS_PORT": str(ports["beat"]),
            "DOORBELL_HEARTBEAT_FILE": str(layout.heartbeat("schedule")),
        },
        address=metrics,
    )


def process_name(pool: str, number: int) -> str:
    """The name of a pool's n-th process, and of the port where it shows its metrics."""
    return f"{pool}.{number}"


def _worker(
    layout: Layout, ports: Mapping[str, int], topology: Topology, pool: str, number: int
) -> Process:
    name = process_name(pool, number)
    port = ports[name]
    environment = _connections(layout, ports, topology, pool) | {
        "DOORBELL_METRICS_HOST": HOST,
        "DOORBELL_METRICS_PORT": str(port),
        "DOORBELL_HEARTBEAT_FILE": str(layout.heartbeat(name)),
        "DOORBELL_SMTP_URL": f"smtp://{HOST}:{ports['mail_sink']}",
        "DOORBELL_ALLOWED_PRIVATE_HOSTS": HOST,
        "DOORBELL_PUBLIC_URL": f"http://{HOST}:{ports['gateway']}",
        "OUTLIER_API_URL": f"http://{HOST}:{ports['outlier_api']}",
    }
    if "outlier_api_key" in topology.pool(pool).secrets:
        environment["DOORBELL_OUTLIER_API_KEY_FILE"] = str(_outlier_api_key(layout))
    _, *arguments = worker_command(topology, pool, process=number)
    return _python(
        layout,
        name,
        tuple(arguments),
        lambda: _consumes(layout, ports, topology, pool, number),
        environment=environment,
        stop_seconds=topology.pool(pool).grace_seconds + _STOP_MARGIN_SECONDS,
        address=f"http://{HOST}:{port}/metrics",
        nice=_NICE.get(pool, _USUAL_NICE),
    )


def _python(
    layout: Layout,
    name: str,
    arguments: tuple[str, ...],
    probe: Probe,
    *,
    environment: Mapping[str, str] | None = None,
    stop_seconds: int = 10,
    address: str = "",
    nice: int = 0,
) -> Process:
    return Process(
        name=name,
        command=(sys.executable, *arguments),
        directory=REPOSITORY,
        probe=probe,
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "SOURCE_DIGEST": source_digest(),
            # A collector of traces is named by OpenTelemetry's own variables.
            **{name: value for name, value in os.environ.items() if name.startswith("OTEL_")},
            **(environment or {}),
        },
        stop_seconds=stop_seconds,
        address=address,
        nice=nice,
    )


def _connections(
    layout: Layout, ports: Mapping[str, int], topology: Topology, user: str
) -> dict[str, str]:
    broker = rabbitmq.write_url(layout, user, ports["rabbitmq"], topology.vhost)
    return {
        "DOORBELL_BROKER_URL_FILE": str(broker),
        "DOORBELL_DATABASE_URL_FILE": str(postgres.write_url(layout, ports["postgres"])),
    }


def _outlier_api_key(layout: Layout) -> Path:
    path = layout.secrets / "outlier_api_key"
    read_or_make(path)
    return path


@functools.cache
def source_digest() -> str:
    """A digest of the code: when it changes, `up` restarts the processes that run it."""
    digest = hashlib.sha256()
    for directory in _SOURCES:
        for path in sorted((REPOSITORY / directory).rglob("*")):
            if path.suffix in (".py", ".sql", ".yml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _consumes(
    layout: Layout, ports: Mapping[str, int], topology: Topology, pool: str, number: int
) -> None:
    """The probe of a pool's n-th process: it shows metrics, and each queue has that many consumers."""
    answers(f"http://{HOST}:{ports[process_name(pool, number)]}/metrics")()
    for queue in topology.queues_of(pool):
        try:
            found = rabbitmq.count_consumers(layout, ports["rabbitmq"], topology.vhost, queue)
        except ConnectionError as error:
            raise ClusterError(f"its broker does not answer: {error.strerror}") from error
        if found < number:
            raise ClusterError(f"queue {queue} has {found} consumers")


def _greet(port: int) -> None:
    with smtplib.SMTP(HOST, port, timeout=5) as connection:
        connection.noop()
