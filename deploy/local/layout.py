"""Where the files of a local cluster lie: everything under one directory, `.local` unless told otherwise."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_LONGEST_SOCKET_PATH = 100
"""Unix socket addresses end at 107 bytes, and supervisord appends its pid while it starts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The directory of one cluster. `root` is absolute."""

    root: Path

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def mail(self) -> Path:
        return self.root / "mail"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def heartbeat(self, name: str) -> Path:
        """What a process leaves word in, for `python -m services.healthcheck`."""
        return self.state / f"{name}.heartbeat"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def rabbitmq(self) -> Path:
        return self.root / "rabbitmq"

    @property
    def prometheus(self) -> Path:
        return self.root / "prometheus"

    @property
    def alertmanager(self) -> Path:
        return self.root / "alertmanager"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def choices(self) -> Path:
        return self.root / "choices.json"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def supervisor_configuration(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        return self.root / "supervisord.pid"

    @property
    def supervisor_socket(self) -> Path:
        """The control socket; outside `root` when the path there would be too long for a socket."""
        path = self.root / "supervisor.sock"
        if len(str(path)) <= _LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"doorbell-{digest}.sock"

    def log(self, process: str) -> Path:
        """The log of one process, output and errors together."""
        return self.logs / f"{process}.log"

    def prepare(self) -> None:
        """Create the directories that are there from the start; the private ones for the owner alone."""
        # Others may pass through the root: PostgreSQL's data lies inside, and runs as another user.
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in (
            self.secrets,
            self.logs,
            self.state,
            self.rabbitmq,
            self.prometheus,
            self.alertmanager,
        ):
            path.mkdir(mode=0o700, exist_ok=True)
