"""RabbitMQ's and PostgreSQL's own tools, called for the services of a local cluster."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from deploy.local import rabbitmq
from deploy.local.layout import Layout
from deploy.local.process import ClusterError


def rabbitmqctl(layout: Layout, arguments: Sequence[str]) -> NoReturn:
    """Become rabbitmqctl, about the cluster's node.

    Raises:
        ClusterError: there is no cluster, or RabbitMQ is not installed.
    """
    ports = _read(layout, layout.ports)
    environment = rabbitmq.environment(layout, ports)
    command = [str(rabbitmq.find_binary("rabbitmqctl")), "-n", rabbitmq.NODE, *arguments]
    os.execve(command[0], command, environment)  # noqa: S606  the tool takes our place


def psql(layout: Layout, arguments: Sequence[str]) -> NoReturn:
    """Become psql, in the cluster's database.

    Raises:
        ClusterError: there is no cluster, or psql is not installed.
    """
    url = _read(layout, layout.endpoints)["database_url"]
    command = shutil.which("psql")
    if command is None:
        raise ClusterError("PostgreSQL's psql is not installed: call deploy/local/setup")
    os.execv(command, [command, "--no-psqlrc", url, *arguments])  # noqa: S606  as above


def _read(layout: Layout, file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise ClusterError(f"there is no cluster in {layout.root}: make up") from None
