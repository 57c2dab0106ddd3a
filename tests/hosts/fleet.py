"""Hosts as containers that systemd has booted, each in the network of its zone: started, killed, cut off, asked."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.waiting import wait_until
from tests.hosts.network import HOSTS, ZONES, Cuts, Host

_BOOT_SECONDS = 90.0
_COMMAND_SECONDS = 300.0
_SILENCE_SECONDS = 0.5

# systemd manages a tree of control groups of its own, where a machine has both kinds.
_HYBRID = Path("/sys/fs/cgroup/unified")
_CONTROL_GROUPS = _HYBRID if _HYBRID.exists() else Path("/sys/fs/cgroup")

_SERVER = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--shm-size", "256m"),
    *("--volume", f"{_CONTROL_GROUPS}:/sys/fs/cgroup:rw", "--cgroupns", "host"),
    *("--env", "container=docker", "--stop-signal", "SIGRTMIN+3"),
    # A file system of its own, which loop devices would be for, needs the kernel's other way.
    *(("--device", "/dev/fuse") if Path("/dev/fuse").exists() else ()),
)


class CommandError(Exception):
    """A command on a host failed; the message has its output."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command on a host printed, and its exit status."""

    status: int
    output: str


class Fleet:
    """The hosts of tests.hosts.network on the engine of DOCKER_HOST.

    image: what a host starts from. public_key: who may log in.
    """

    def __init__(self, image: str, public_key: str) -> None:
        self._image = image
        self._public_key = public_key
        self.cuts = Cuts()

    def create(self, names: Iterable[str]) -> None:
        """Make and boot hosts that have never run; those that are there already stay as they are."""
        self.cuts.lay()
        networks = _docker("network", "ls", "--format", "{{.Name}}").split()
        for zone in (zone for zone in ZONES if zone not in (*networks, "outside")):
            self._create_network(zone)
        there = self.there()
        made = [name for name in names if name not in there]
        for name in made:
            self._create(HOSTS[name])
        for name in made:
            self.wait_until_booted(name)

    def there(self) -> list[str]:
        """The hosts that have been made, running or not."""
        return _docker("ps", "--all", "--format", "{{.Names}}").split()

    def running(self) -> list[str]:
        return _docker("ps", "--format", "{{.Names}}").split()

    def remove(self, *names: str) -> None:
        """Delete hosts with what is on them, or all of them."""
        if gone := names or self.there():
            _docker("rm", "--force", *gone)

    def start(self, name: str) -> None:
        """Switch a host on that was killed or shut down; returns when it has booted."""
        self.cuts.hear(name)
        _docker("start", name)
        self.wait_until_booted(name)

    def kill(self, name: str) -> float:
        """A host loses its power: all processes end at once, and no connection is closed.

        Returns the time just before, in seconds since 1970.
        """
        self.cuts.silence(name)
        at = time.time()
        _docker("kill", name)
        return at

    def shut_down(self, name: str) -> None:
        """Switch a host off in order; `start` switches it on again."""
        _docker("stop", "--time", "120", name)

    def wait_until_booted(self, name: str) -> None:
        """Wait until systemd has started everything, well or not."""
        states = ("running", "degraded")
        wait_until(
            lambda: self.ask(name, "systemctl", "is-system-running").output.strip() in states,
            _BOOT_SECONDS,
            f"{name} to boot",
        )

    def failed_units(self, name: str) -> list[str]:
        listed = self.run(name, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
        return [line.split()[0] for line in listed.splitlines()]

    def run(
        self, name: str, *command: str, stdin: str = "", seconds: float = _COMMAND_SECONDS
    ) -> str:
        """Run a command as root on a host, past its network; returns what it printed.

        Raises:
            CommandError: it failed.
        """
        answer = self.ask(name, *command, stdin=stdin, seconds=seconds)
        if answer.status:
            raise CommandError(f"{name}: {' '.join(command)}: {answer.status}\n{answer.output}")
        return answer.output

    def ask(
        self, name: str, *command: str, stdin: str = "", seconds: float = _COMMAND_SECONDS
    ) -> Answer:
        """As `run`, for commands whose failure is an answer; their complaints are in the output too."""
        ended = subprocess.run(
            ("docker", "exec", "--interactive", name, *command),
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        return Answer(ended.returncode, ended.stdout)

    def described(self, name: str) -> dict[str, Any]:
        """What the engine knows about a host."""
        found: dict[str, Any] = json.loads(_docker("inspect", name))[0]
        return found

    def _create_network(self, zone: str) -> None:
        network = ZONES[zone]
        bridge = f"com.docker.network.bridge.name={zone}"
        where = ("--subnet", str(network), "--gateway", str(network[1]))
        _docker("network", "create", *where, "--opt", bridge, zone)

    def _create(self, host: Host) -> None:
        where = ("--network", host.zone, "--ip", str(host.address))
        key = ("--env", f"AUTHORIZED_KEY={self._public_key}")
        named = ("--name", host.name, "--hostname", host.name)
        _docker("run", "--detach", *named, *where, *_SERVER, *key, self._image, "boot")


def import_image(tar: Path) -> str:
    """The name of an image on the engine, from a file of tests.hosts.image."""
    name = f"doorbell-test/{tar.stem}"
    if not _docker("images", "--quiet", name):
        _docker("import", str(tar), name)
    return name


def _docker(*arguments: str) -> str:
    ended: subprocess.CompletedProcess[str] = subprocess.run(
        ("docker", *arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
    )
    if ended.returncode:
        raise CommandError(f"docker {_shown(arguments)}: {ended.stderr.strip()}")
    return ended.stdout


def _shown(arguments: Sequence[str]) -> str:
    return " ".join(arguments[:4])
