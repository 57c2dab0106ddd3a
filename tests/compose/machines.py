"""Does to containers what happens to machines, and notes each disturbance just before, for the oracle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.chaos.supervisor import Disturbance
from tests.compose.stack import Stack
from tests.e2e.waiting import wait_until

_STATEFUL = ("rabbitmq", "postgres")
_HEALTHY_SECONDS = 120
_PAUSE_SECONDS = 30


class Machines:
    """The containers of a stack, by their services' names."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.disturbances: list[Disturbance] = []

    def restart(self, service: str) -> None:
        """Stopped in order, and started again."""
        self._note("stop", service)
        self._do("stop", service)
        self._start(service)

    def kill(self, service: str, away_seconds: float = 1.0) -> None:
        """Gone at once, and started again a little later."""
        self._note("kill", service)
        self._do("kill", service)
        time.sleep(away_seconds)
        self._start(service)

    def wait_until_healthy(self) -> None:
        """What was disturbed is itself again."""
        wait_until(
            lambda: not self._stack.unhealthy(), _HEALTHY_SECONDS, "every container to be healthy"
        )

    @contextmanager
    def suspended(self, *services: str) -> Iterator[None]:
        """They stand still: what is sent to them gets as far as their sockets."""
        for service in services:
            self._note("suspend", service)
        paused: list[str] = []
        try:
            for service in services:
                wait_until(partial(self._pauses, service), _PAUSE_SECONDS, f"{service} to pause")
                paused.append(service)
            yield
        finally:
            if paused:
                self._do("unpause", *paused)
            for service in paused:
                self._note("back" if _part(service) in _STATEFUL else "resume", service)

    @contextmanager
    def parted(self, *services: str) -> Iterator[None]:
        """They have no network; nobody tells either side. They come back under their names."""
        before = [c for service in services for c in self._stack.containers(service)]
        for service in services:
            self._note("part", service)
        for container in before:
            for network in container["NetworkSettings"]["Networks"]:
                self._stack.docker("network", "disconnect", network, container["Id"])
        try:
            yield
        finally:
            for container in before:
                self._connect(container)
            for service in services:
                self._note("back" if _part(service) in _STATEFUL else "rejoin", service)

    def _pauses(self, service: str) -> bool:
        """The engine cannot freeze a container in which a health check is just being started; a moment later it can."""
        try:
            self._do("pause", service)
        except AssertionError as error:
            if "unable to freeze" not in str(error):
                raise
            return False
        return True

    def _connect(self, container: dict[str, Any]) -> None:
        for network, joined in container["NetworkSettings"]["Networks"].items():
            names = [part for name in joined["Aliases"] or () for part in ("--alias", name)]
            self._stack.docker("network", "connect", *names, network, container["Id"])

    def _start(self, service: str) -> None:
        self._do("start", service)
        if _part(service) in _STATEFUL:
            self._note("back", service)

    def _do(self, command: str, *services: str) -> None:
        self._stack.docker(command, *self._stack.ids(*services))

    def _note(self, what: str, service: str) -> None:
        self.disturbances.append(Disturbance(time.time(), what, _part(service)))


def _part(service: str) -> str:
    """A part of the system as the oracle calls it: a pool, the broker, whichever of them it is."""
    if service.startswith("rabbitmq"):
        return "rabbitmq"
    return "smtp" if service == "mail" else service.removeprefix("worker-")
