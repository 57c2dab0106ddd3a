"""A place from which a process reaches each service over a link of its own, and each link can be dropped."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.faults.proxy import Proxy

Means = Literal["namespaces", "proxies"]

_NETWORK = 0x40000000  # CLONE_NEWNET
_NOBODY = "02:00:00:00:00:01"
_WORDS = ("unshare", "nsenter", "ip")


class Place(Protocol):
    """Where a process can be put: start it with `prefix`, and give it the addresses of `url`."""

    means: Means
    prefix: tuple[str, ...]

    def url(self, service: str, url: str) -> str:
        """The same URL as it has to be spelled inside."""

    def drop(self, *services: str) -> None:
        """Swallow what goes to and comes from these services; nobody gets a reset."""

    def lift(self, *services: str) -> None:
        """Let everything through again."""


@contextmanager
def place(services: Mapping[str, int], others: Sequence[int] = ()) -> Iterator[Place]:
    """A place that reaches `services` (name to port on this host's loopback) over links of their own.

    Real network namespaces where this process may make them; elsewhere proxies that stop
    passing bytes, which `means` says. Ports in `others` are reached undisturbed, at the
    address that they have outside.
    """
    if why_no_namespaces() is None:
        with _Namespaces(services, others) as namespaces:
            yield namespaces
    else:
        with _Proxies(services) as proxies:
            yield proxies


@contextmanager
def dropped(where: Place, *services: str) -> Iterator[None]:
    """During the block these services are out of reach."""
    where.drop(*services)
    try:
        yield
    finally:
        where.lift(*services)


def why_no_namespaces() -> str | None:
    """What is missing for network namespaces; skips the test without iproute2 and util-linux, fails in CI."""
    if missing := [word for word in _WORDS if shutil.which(word) is None]:
        reason = f"{', '.join(missing)} missing: install the packages iproute2 and util-linux"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    probe = "ip link set lo up && ip link add one type veth peer name two"
    tried = subprocess.run(
        ["unshare", "--net", "/bin/sh", "-c", probe], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip() or "unshare failed" if tried.returncode else None


class _Namespaces(ExitStack):
    """Two namespaces, one for the processes and one for the other ends of their links.

    A proxy's listening socket was made in the other namespace, its connections to the
    service go out from this one: nothing is configured on the host itself.
    """

    means: Means = "namespaces"

    def __init__(self, services: Mapping[str, int], others: Sequence[int]) -> None:
        super().__init__()
        self._services = dict(services)
        self._others = others
        self._numbers = {name: number for number, name in enumerate(services, start=1)}
        self._proxies: dict[str, Proxy] = {}

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        self._inside, self._beyond = (self.enter_context(_namespace()) for _ in range(2))
        self.prefix = _entering(self._inside)
        for namespace in (self._inside, self._beyond):
            _ip(namespace, "link set lo up")
        for name, port in self._services.items():
            self._link(name)
            listener = _listener(self._beyond, self._address(name, self._beyond), port)
            self._proxies[name] = self.enter_context(Proxy(port, listener))
        for port in self._others:
            self.enter_context(Proxy(port, _listener(self._inside, "127.0.0.1", port)))

    def url(self, service: str, url: str) -> str:
        return _with_address(url, self._address(service, self._beyond), self._services[service])

    def drop(self, *services: str) -> None:
        # Frames for an address that nobody has: they leave and reach nobody, in either direction.
        for name in services:
            for here, there in ((self._inside, self._beyond), (self._beyond, self._inside)):
                peer = self._address(name, there)
                _ip(
                    here,
                    f"neigh replace {peer} lladdr {_NOBODY} nud permanent dev {self._device(name)}",
                )

    def lift(self, *services: str) -> None:
        for name in services:
            for here, there in ((self._inside, self._beyond), (self._beyond, self._inside)):
                _ip(here, f"neigh del {self._address(name, there)} dev {self._device(name)}")

    def _link(self, name: str) -> None:
        device = self._device(name)
        _ip(self._inside, f"link add {device} type veth peer name {device} netns {self._beyond}")
        for namespace in (self._inside, self._beyond):
            _ip(namespace, f"address add {self._address(name, namespace)}/24 dev {device}")
            _ip(namespace, f"link set {device} up")

    def _device(self, name: str) -> str:
        return f"link{self._numbers[name]}"

    def _address(self, name: str, namespace: int) -> str:
        return f"10.0.{self._numbers[name]}.{1 if namespace == self._beyond else 2}"


class _Proxies(ExitStack):
    """The next best thing: connections that stand still, though the host's own network is well."""

    means: Means = "proxies"
    prefix: tuple[str, ...] = ()

    def __init__(self, services: Mapping[str, int]) -> None:
        super().__init__()
        self._proxies = {name: Proxy(port) for name, port in services.items()}

    def __enter__(self) -> Self:
        for proxy in self._proxies.values():
            self.enter_context(proxy)
        return self

    def url(self, service: str, url: str) -> str:
        return _with_address(url, "127.0.0.1", self._proxies[service].port)

    def drop(self, *services: str) -> None:
        for name in services:
            self._proxies[name].hold()

    def lift(self, *services: str) -> None:
        for name in services:
            self._proxies[name].release()


@contextmanager
def _namespace() -> Iterator[int]:
    """The id of a process that does nothing but keep a network namespace of its own alive."""
    # Its input ends with this process, however that dies.
    command = ["unshare", "--net", "/bin/sh", "-c", "echo; read -r _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        yield keeper.pid
        keeper.communicate()


def _entering(namespace: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{namespace}/ns/net")


def _ip(namespace: int, words: str) -> None:
    subprocess.run([*_entering(namespace), "ip", *words.split()], check=True)


def _listener(namespace: int, host: str, port: int) -> socket.socket:
    """A listening socket of that namespace; a socket stays in the one that it was made in."""

    def make() -> socket.socket:
        library = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{namespace}/ns/net").open("rb") as file:
            if library.setns(file.fileno(), _NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.create_server((host, port))

    # The thread changes its own namespace only, and ends with it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def _with_address(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    account, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{account}{at}{host}:{port}"))
