"""The local cluster of a tree as the ground of a game day: its commands, its Prometheus, and logins that come in."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests
from kombu import Connection

from deploy.local import passwords
from deploy.local.layout import Layout
from deploy.local.rabbitmq import find_binary
from tests.e2e.waiting import wait_until
from tests.gamedays.inbox import Inbox
from tests.gamedays.runbook import Condition, Place

ROOT = Path(__file__).resolve().parents[2]

LINKS = {
    "DASHBOARDS_URL": "https://grafana.example.org",
    "RUNBOOKS_URL": "https://git.example.org/doorbell/deploy/runbooks",
}
TRY_OUT = "TryOut"
"""What a page has sent to see whether somebody is reached."""

_COMMAND_SECONDS = 300.0


class Grounds:
    """What a game day does to the cluster, and asks it; `box` is who Alertmanager tells.

    Attributes:
        place: whose commands of a page are for it.
    """

    place: Place = "local"

    def __init__(self, environment: dict[str, str], box: Inbox, root: Path = ROOT) -> None:
        self._environment = environment
        self.box = box
        self.root = root

    @property
    def endpoints(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.root / ".local" / "endpoints.json").read_text())
        return found

    def run(self, script: str, seconds: float = _COMMAND_SECONDS) -> str:
        """Run a runbook's commands as somebody at a terminal would, one shell for all; returns what they print.

        Raises:
            AssertionError: one of them failed; the message has what they printed.
        """
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            check=False,
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert ended.returncode == 0, f"{script}\n{ended.stdout}"
        return ended.stdout

    def mend(self, script: str, labels: Mapping[str, str]) -> str:
        """Run commands of a page's Mitigation; returns what they print. labels: whose alert it is."""
        return self.run(script)

    def supervise(self, *words: str) -> str:
        """Tell the supervisor of the cluster something, in supervisorctl's words."""
        command = [".venv/bin/supervisorctl", "-c", ".local/supervisord.conf", *words]
        return subprocess.run(
            command, check=True, cwd=self.root, stdout=subprocess.PIPE, text=True, timeout=60
        ).stdout

    def doorbell(self, *words: str) -> str:
        """Run the `doorbell` command; returns what it prints."""
        return self.run(f".venv/bin/doorbell {shlex.join(words)}")

    def freeze(self, name: str) -> None:
        """Have a process stand still without ending."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def pid(self, name: str) -> int:
        """The process id of one of the cluster's processes."""
        return int(self.supervise("pid", name))

    def rabbitmqctl(self, *words: str) -> str:
        """Run a command of the broker's in the environment of the node."""
        raw = Path(f"/proc/{self.pid('rabbitmq')}/environ").read_bytes().decode()
        environment = dict(item.partition("=")[::2] for item in raw.split("\0") if item)
        node = environment["RABBITMQ_NODENAME"]
        return subprocess.run(
            [str(find_binary("rabbitmqctl")), "-n", node, *words],
            check=True,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        ).stdout

    def connect(self, user: str, password: str) -> Connection:
        """A connection to the broker."""
        address = urlsplit(self.endpoints["broker_url"])
        return Connection(f"pyamqp://{user}:{password}@{address.hostname}:{address.port}/doorbell")

    def value(self, query: str) -> float | None:
        """The only value of a query; None when there is none."""
        answer = requests.get(
            f"{self.endpoints['prometheus']}/api/v1/query", params={"query": query}, timeout=10
        )
        answer.raise_for_status()
        found = answer.json()["data"]["result"]
        assert len(found) <= 1, f"{query} has {len(found)} values"
        return float(found[0]["value"][1]) if found else None

    def is_calm(self, but: Collection[str] = ()) -> bool:
        """Whether no alert is pending or fires, but for those of these names."""
        return self.value(f'count(ALERTS{{alertname!~"{"|".join(but)}"}}) or vector(0)') == 0

    def shown_since(self, labels: Mapping[str, str]) -> float:
        """Since when Prometheus has had the condition of an alert without a pause, in seconds since 1970.

        Raises:
            AssertionError: there is no alert, or more than one, with these labels.
        """
        answer = requests.get(f"{self.endpoints['prometheus']}/api/v1/alerts", timeout=10)
        answer.raise_for_status()
        alerts = answer.json()["data"]["alerts"]
        (found,) = (each for each in alerts if each["labels"] == labels)
        return datetime.fromisoformat(found["activeAt"]).timestamp()

    def try_out(self, seconds: float) -> None:
        """Have Alertmanager page somebody of nothing, for so long."""
        alert = {
            "labels": {"alertname": TRY_OUT, "severity": "page"},
            "endsAt": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        }
        url = f"{self.endpoints['alertmanager']}/api/v2/alerts"
        requests.post(url, json=[alert], timeout=10).raise_for_status()

    def wait_for(self, conditions: list[Condition], seconds: float) -> None:
        """Wait until all of a page's Verify holds."""
        for condition in conditions:

            def holds(wanted: Condition = condition) -> bool:
                value = self.value(wanted.query)
                return value is not None and wanted.holds(value)

            wait_until(holds, seconds, f"{condition.query} {condition.relation} {condition.bound}")

    def administer(self, statement: str) -> None:
        """Run a statement as the database's superuser."""
        self.rows(statement)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.endpoints["database_url"], autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def grounds(box: Inbox, directory: Path, root: Path = ROOT) -> Iterator[Grounds]:
    """The cluster of a tree, up, with the inbox as the one that is told; down afterwards."""
    receivers = directory / "receivers.yml"
    receivers.write_text(box.receivers("127.0.0.1"))
    choices = Layout(root / ".local").choices
    before = choices.read_bytes() if choices.exists() else None
    # As at a terminal: a test whose tools are missing is skipped there, and fails where CI is set.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    found = Grounds(environment, box, root)
    links = " ".join(f"{name}={url}" for name, url in LINKS.items())
    # Said once, by who set the cluster up: what a page tells its reader to run has to leave it as it is.
    found.run(f"make up ALERT_RECEIVERS={receivers} {links}")
    try:
        yield found
    finally:
        found.run("make down")
        choices.unlink()
        if before is not None:
            passwords.write(choices, before.decode())
