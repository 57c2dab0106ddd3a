"""A composed project on a real engine: brought up, looked at, removed with its data."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "doorbell-test/fleet"
PUBLISHED = ("GATEWAY_PORT", "FLOWER_PORT", "FLOWER_VIEWERS_PORT", "PROMETHEUS_PORT")

_UP_SECONDS = 480
_COMMAND_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Stack:
    """One project. `program` is Compose 1.29 or v2; `secrets` is where its secrets lie.

    files: compose files on top of the usual one. environment: variables of theirs.
    """

    program: str
    project: str
    secrets: Path
    ports: Mapping[str, int]
    files: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def up(self, *arguments: str) -> None:
        """Bring everything up."""
        self.compose("up", "-d", *arguments, seconds=_UP_SECONDS)

    def remove(self) -> None:
        """Stop everything and delete it with its data."""
        self.compose("down", "-v", "--remove-orphans")

    def compose(self, *arguments: str, seconds: float = _COMMAND_SECONDS) -> str:
        """Run a compose command and return its standard output."""
        return self._run((*self.command(), *arguments), seconds)

    def command(self) -> tuple[str, ...]:
        """Compose for this project, as it is called in the checkout with `variables`."""
        files = ("docker-compose.yml", *self.files, "tests/compose/rig.yml")
        named = [part for file in files for part in ("-f", file)]
        return self.program, "-p", self.project, *named

    def variables(self) -> dict[str, str]:
        """The environment of `command`."""
        ports = {name: str(port) for name, port in self.ports.items()}
        named = {"SECRETS_DIRECTORY": str(self.secrets), "FLEET_IMAGE": IMAGE}
        return {**os.environ, **ports, **named, **self.environment}

    def doorbell(self, *arguments: str) -> str:
        """Run the `doorbell` command in a container of its own."""
        return self.compose("run", "--rm", "-T", "doorbell", *arguments).strip()

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows about the project's containers, or those of one service."""
        wanted = ["--filter", f"label=com.docker.compose.project={self.project}"]
        if service:
            wanted += ["--filter", f"label=com.docker.compose.service={service}"]
        ids = self.docker("ps", "--all", "--quiet", *wanted).split()
        if not ids:
            return []
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *ids))
        return found

    def ids(self, *services: str) -> list[str]:
        """The containers of some services."""
        return [container["Id"] for service in services for container in self.containers(service)]

    def address(self, service: str) -> str:
        """Where this machine reaches a service's container; its name while it has stopped."""
        [container] = self.containers(service)
        networks = container["NetworkSettings"]["Networks"].values()
        found = [str(network["IPAddress"]) for network in networks if network["IPAddress"]]
        return found[0] if found else service

    def gateway_address(self) -> str:
        """Where the containers reach this machine."""
        [network] = json.loads(self.docker("network", "inspect", f"{self.project}_default"))
        return str(network["IPAM"]["Config"][0]["Gateway"])

    def secret(self, name: str) -> str:
        """One of the secrets."""
        return (self.secrets / name).read_text().strip()

    def unhealthy(self) -> list[str]:
        """The services that are not as they should be: healthy, or ended well where that is their way."""
        return [
            service_of(container)
            for container in self.containers()
            if container["State"].get("Health", {}).get("Status") != "healthy"
            and (container["State"]["Running"] or container["State"]["ExitCode"])
        ]

    def docker(self, *arguments: str) -> str:
        """Run an engine command and return its standard output."""
        return self._run(("docker", *arguments), _COMMAND_SECONDS)

    def url(self, port: str) -> str:
        """Where a published port is."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def _run(self, command: tuple[str, ...], seconds: float) -> str:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=self.variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout


def service_of(container: Mapping[str, Any]) -> str:
    """The compose service that a container belongs to."""
    name: str = container["Config"]["Labels"]["com.docker.compose.service"]
    return name


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Ports of loopback that nobody uses at this moment."""
    return {name: free_port() for name in names}
