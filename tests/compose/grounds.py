"""A composed project as the ground of a game day."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.monitoring import alerting
from routing.load import load
from tests.compose.stack import Stack
from tests.gamedays.grounds import LINKS, Grounds
from tests.gamedays.inbox import Inbox
from tests.gamedays.runbook import Place

_SERVICES = {"mail_sink": "mail", "outlier_api": "outlier-api", "schedule": "beat"}
"""What the processes of the local cluster are called here, where it is not the same."""


class Composed(Grounds):
    """A project that is up, its own commands in the place of the local cluster's.

    directory: where `docker compose` is made to mean this project. without: variables of the stack that commands lack.
    """

    place: Place = "containers"

    def __init__(
        self,
        stack: Stack,
        api_key: str,
        box: Inbox,
        directory: Path,
        without: Sequence[str] = (),
    ) -> None:
        self._api_key = api_key
        self._stack = _told_of(stack, box, directory)
        self._stack.up()
        program = directory / "docker"
        command = shlex.join(self._stack.command())
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = compose ]; then shift; exec {command} "$@"; fi\n'
            f'PATH={shlex.quote(os.environ["PATH"])} exec docker "$@"\n'
        )
        program.chmod(0o755)
        path = f"{directory}:{os.environ['PATH']}"
        variables = {**self._stack.variables(), "PATH": path}
        super().__init__({name: variables[name] for name in variables.keys() - set(without)}, box)

    @property
    def endpoints(self) -> dict[str, str]:
        """As the local cluster has them in a file; addresses of containers change when they start again."""
        url = urlsplit(self._stack.secret("database_url"))
        user = url.netloc.rpartition("@")[0]
        database = url._replace(netloc=f"{user}@{self._stack.address('postgres')}:5432")
        return {
            "gateway": self._stack.url("GATEWAY_PORT"),
            "api_key": self._api_key,
            "prometheus": self._stack.url("PROMETHEUS_PORT"),
            "alertmanager": f"http://{self._stack.address('alertmanager')}:9093",
            "database_url": urlunsplit(database),
        }

    def run(self, script: str, seconds: float = 300.0) -> str:
        """As somebody at a terminal would: programs look for one."""
        typed = shlex.join(["bash", "-e", "-o", "pipefail", "-c", script])
        return super().run(
            f"script --quiet --return --command {shlex.quote(typed)} /dev/null", seconds
        )

    def supervise(self, *words: str) -> str:
        """Stop or start services, by the names of the local cluster's processes."""
        verb, *names = words
        return self._stack.compose(verb, *map(_service, names))

    def doorbell(self, *words: str) -> str:
        return self._stack.doorbell(*words)

    def freeze(self, name: str) -> None:
        # It spares whoever calls it: a shell beside it would be stopped, and Compose would wait for that.
        self._stack.compose("exec", "-T", _service(name), "sh", "-c", "kill -STOP -1")

    def rabbitmqctl(self, *words: str) -> str:
        return self._stack.compose("exec", "-T", "rabbitmq", "rabbitmqctl", *words)

    def administer(self, statement: str) -> None:
        psql = ("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "doorbell")
        self._stack.compose(*psql, "-v", "ON_ERROR_STOP=1", "-c", statement)


def _service(name: str) -> str:
    pool = name.partition(".")[0]
    return f"worker-{pool}" if pool in load().pools else _SERVICES.get(name, name)


def _told_of(stack: Stack, box: Inbox, directory: Path) -> Stack:
    receivers, configuration = directory / "receivers.yml", directory / "alertmanager.yml"
    receivers.write_text(box.receivers(stack.gateway_address()))
    configuration.write_text(alerting(receivers))
    configuration.chmod(0o644)
    environment = {**stack.environment, **LINKS, "ALERTMANAGER_CONFIGURATION": str(configuration)}
    return replace(stack, environment=environment)
