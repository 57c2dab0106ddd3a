"""Real worker processes for tests: started under their pools' own broker users, killed at will."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from routing.definitions import complete_definitions
from routing.load import load
from routing.topology import Topology
from tests.support.certificates import Authority
from tests.support.rabbitmq import PrivateRabbitMQ
from tests.support.stalls import describe_pressure

ROOT = Path(__file__).resolve().parents[2]

_STOP_SECONDS = 20.0
_SHORTEST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.1
T = TypeVar("T")


def passwords(code: Path = ROOT) -> dict[str, str]:
    """A password for each broker user of the topology; its own name is enough on loopback."""
    topology = topology_of(code)
    return {name: f"password-of-{name}" for name in (*topology.pools, *topology.users)}


def topology_of(code: Path) -> Topology:
    """The topology of a checkout."""
    return load(code / "routing/topology.yml")


def doorbell_node(authority: Authority | None = None, code: Path = ROOT) -> PrivateRabbitMQ:
    """A node with the whole topology and its users; behind mutual TLS if there is an authority.

    code: the checkout whose topology it is.
    """
    return PrivateRabbitMQ(complete_definitions(topology_of(code), passwords(code)), authority)


def with_the_topology(node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    """A running node as `doorbell_node` makes one; what was on it is gone."""
    node.renew(complete_definitions(topology_of(ROOT), passwords()))
    return node


class Fleet:
    """Worker processes of one test; `with` ends them all."""

    def __init__(
        self,
        node: PrivateRabbitMQ,
        database_url: str,
        directory: Path,
        smtp_port: int = 1,
        outlier_api_url: str = "http://127.0.0.1:1",
        code: Path = ROOT,
        **more: str,
    ) -> None:
        """code: the checkout whose code all processes run. more: variables that every process has."""
        self._node = node
        self._code = code
        self._database_url = database_url
        self._directory = directory
        self._more = {
            "DOORBELL_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
            "OUTLIER_API_URL": outlier_api_url,
            **more,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self.processes):
            self.kill(name)

    def broker_url(self, user: str) -> str:
        return self._node.broker_url(
            user, passwords(self._code)[user], topology_of(self._code).vhost
        )

    def environment(self, user: str, **more: str) -> dict[str, str]:
        """A process's environment, with nothing of this machine's own settings in it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "PYTHONPATH": str(self._code),
            "DOORBELL_BROKER_URL": self.broker_url(user),
            "DOORBELL_DATABASE_URL": self._database_url,
            "DOORBELL_HOST_NAME": "test",
            **self._node.client_settings(),
            **self._more,
            **more,
        }

    def start(
        self,
        name: str,
        module: str = "services.worker",
        arguments: tuple[str, ...] = (),
        user: str | None = None,
        prefix: tuple[str, ...] = (),
        code: Path | None = None,
        **more: str,
    ) -> subprocess.Popen[bytes]:
        """Start a process called `name`: by default the worker of the pool of that name.

        prefix: a program that starts another one in its own place (`ip netns exec ...`).
        code: the checkout whose code it runs, where that is not the fleet's.
        """
        code = code or self._code
        arguments = arguments or ((name,) if module == "services.worker" else ())
        with (self._directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                # A killed test run leaves no process behind.
                [
                    *("setpriv", "--pdeathsig", "KILL", *prefix),
                    *(sys.executable, "-m", module, *arguments),
                ],
                env=self.environment(user or name, **{"PYTHONPATH": str(code), **more}),
                cwd=code,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """End a process with SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(_STOP_SECONDS)

    def stop(self, name: str) -> int:
        """End a process as a deploy does; returns its exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(_STOP_SECONDS)

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def logs(self) -> Mapping[str, str]:
        return {
            path.stem: path.read_text(errors="replace") for path in self._directory.glob("*.log")
        }


def wait_until(condition: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """Poll until `condition` answers something true; fail with `what` after the deadline.

    What has taken long already is asked for less often: whoever asks takes the time of whom is waited for.
    """
    begun_at = time.monotonic()
    while True:
        if value := condition():
            return value
        waited = time.monotonic() - begun_at
        if waited > seconds:
            problem = AssertionError(f"not within {seconds} seconds: {what or condition}")
            problem.add_note(describe_pressure())
            raise problem
        time.sleep(min(max(waited / 20, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS))
