"""The controller of the fleet: its key, its inventory with secrets, and its playbooks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.waiting import wait_until
from tests.hosts import inventory
from tests.hosts.network import HOSTS

ROOT = Path(__file__).resolve().parents[2]

_PROGRAMS = ROOT / ".venv-ansible" / "bin"
_PLAYBOOK_SECONDS = 1500.0
_SSH_SECONDS = 60.0
_RECAP = re.compile(
    r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE
)
_CHANGED = re.compile(r"^changed: \[([^]\s]+)", re.MULTILINE)
_END = 6000


class PlaybookError(Exception):
    """A playbook failed; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Recap:
    """How a playbook went: its seconds, and what each host says at its end."""

    status: int
    seconds: float
    changed: Mapping[str, int]
    failed: Mapping[str, int]
    output: str

    @property
    def changes(self) -> list[str]:
        """Each change, as `task (host)`."""
        return [
            f"{section.partition(']')[0]} ({host})"
            for section in re.split(
                r"^(?:TASK|RUNNING HANDLER) \[", self.output, flags=re.MULTILINE
            )[1:]
            for host in _CHANGED.findall(section)
        ]


class Controller:
    """Everything of the controller lies in `directory`, playbooks' outputs in its `logs`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "key"
        self.inventory = directory / "inventory"
        self.logs = directory / "logs"
        self._password = directory / "vault-password"
        self._settings = inventory.reach(directory, self.key)
        self._more_groups: dict[str, tuple[str, ...]] = {}

    def prepare(self) -> None:
        """Make the key, unless it is there."""
        if not self.key.exists():
            command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f")
            subprocess.run((*command, self.key), check=True)

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    @property
    def ca(self) -> Path:
        """The certificate that the fleet's own are signed by."""
        return self.inventory / "files" / "ca.crt"

    @property
    def trusted(self) -> Path:
        """The certificates that the fleet's clients trust: the CA's, and the next one's as soon as there is one."""
        bundle = self.directory / "trusted.crt"
        bundle.write_text(
            "".join(crt.read_text() for crt in sorted(self.ca.parent.glob("ca*.crt")))
        )
        return bundle

    def set(self, settings: Mapping[str, object]) -> None:
        """Write the inventory with these settings added; its secrets are made once."""
        self._settings |= settings
        inventory.write(self.inventory, self._settings, self._more_groups)
        if not self.ca.exists():
            self.make_secrets()

    def join(self, spare: str, like: str) -> None:
        """A spare host is to be of the groups of another one; `leave` takes it out again."""
        self._more_groups[spare] = HOSTS[like].groups
        self.set({})

    def leave(self, spare: str) -> None:
        del self._more_groups[spare]
        self.set({})

    def forget(self, host: str) -> None:
        """Expect another key of a host than before: it was replaced by a fresh one."""
        known = ("-f", str(self.directory / "known_hosts"), "-R", str(HOSTS[host].address))
        subprocess.run(("ssh-keygen", *known), check=True, capture_output=True)

    def make_secrets(self, *options: str) -> None:
        """Call ansible/make_secrets for the inventory."""
        command = (ROOT / "ansible" / "make_secrets", self.inventory)
        password = ("--vault-password-file", self._password)
        subprocess.run((*command, *password, *options), check=True, env=self.environment)

    def secrets(self) -> dict[str, Any]:
        """What the vault holds."""
        vault = self.inventory / "group_vars" / "all" / "vault.yml"
        told = subprocess.run(
            (_PROGRAMS / "ansible-vault", "view", vault),
            check=True,
            capture_output=True,
            text=True,
            env=self.environment | {"PAGER": "cat"},
        )
        content: dict[str, Any] = yaml.safe_load(told.stdout)
        return content

    @property
    def environment(self) -> dict[str, str]:
        """For Ansible's programs; nothing of it is written to the user's home."""
        return os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.directory / "c"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self._password),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{_PROGRAMS}:{os.environ['PATH']}",
        }

    def command(self, playbook: str, *options: str) -> list[str | Path]:
        """The command line of a playbook of ansible/."""
        path = ROOT / "ansible" / f"{playbook}.yml"
        return [_PROGRAMS / "ansible-playbook", "--inventory", self.inventory, path, *options]

    def play(self, playbook: str, *options: str, **variables: object) -> Recap:
        """Run a playbook.

        Raises:
            PlaybookError: it failed.
        """
        recap = self.try_to_play(playbook, *options, **variables)
        if recap.status:
            raise PlaybookError(f"{playbook}: {recap.status}\n{recap.output[-_END:]}")
        return recap

    def try_to_play(self, playbook: str, *options: str, **variables: object) -> Recap:
        """As `play`, for playbooks whose failure is an answer."""
        log = self._new_log(playbook)
        began = time.monotonic()
        with log.open("w") as output:
            ended = subprocess.run(
                self.command(playbook, *options, *_extra(variables)),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.environment,
                timeout=_PLAYBOOK_SECONDS,
            )
        seconds = time.monotonic() - began
        said = log.read_text()
        counts = _RECAP.findall(said.rpartition("PLAY RECAP")[2])
        return Recap(
            ended.returncode,
            seconds,
            {host: int(changed) for host, changed, _, _ in counts},
            {host: int(away) + int(failed) for host, _, away, failed in counts},
            said,
        )

    def break_off(self, playbook: str, when: str, **variables: object) -> None:
        """Kill a playbook, and everything it started here, as soon as its output has `when`."""
        with self._started(playbook, when, variables):
            pass

    @contextmanager
    def playing(self, playbook: str, when: str, **variables: object) -> Iterator[None]:
        """From where a playbook's output has `when`; on exit it has come to its end.

        Raises:
            PlaybookError: it failed.
        """
        with self._started(playbook, when, variables) as (running, log):
            yield
            status = running.wait(_PLAYBOOK_SECONDS)
        if status:
            raise PlaybookError(f"{playbook}: {status}\n{log.read_text()[-_END:]}")

    @contextmanager
    def _started(
        self, playbook: str, when: str, variables: Mapping[str, object]
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A playbook whose output has `when`, and its log; on exit it is killed with everything it started here."""
        log = self._new_log(playbook)
        with log.open("w") as output:
            running = subprocess.Popen(
                self.command(playbook, *_extra(variables)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )
        try:
            wait_until(
                lambda: when in log.read_text() or running.poll() is not None,
                _PLAYBOOK_SECONDS,
                f"{playbook} says {when!r}",
            )
            assert running.poll() is None, log.read_text()[-_END:]
            yield running, log
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    def ssh_command(self, host: str, *options: str) -> list[str | Path]:
        """The command line that logs in at a host as the controller does."""
        common = str(self._settings["ansible_ssh_common_args"]).split()
        login = f"{self._settings['ansible_user']}@{HOSTS[host].address}"
        return ["ssh", "-i", self.key, *common, *options, login]

    def ssh(self, host: str, *command: str) -> str:
        """Run a command on a host over SSH; returns what it printed."""
        return subprocess.run(
            [*self.ssh_command(host), *command],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_SSH_SECONDS,
        ).stdout

    def _new_log(self, playbook: str) -> Path:
        self.logs.mkdir(exist_ok=True)
        return self.logs / f"{len(list(self.logs.iterdir())):03}-{playbook}.log"


def _extra(variables: Mapping[str, object]) -> list[str]:
    if not variables:
        return []
    return [f"--extra-vars={yaml.safe_dump(dict(variables), default_flow_style=True, width=10**6)}"]
