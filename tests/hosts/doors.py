"""The ways to the fleet from outside: its gateways as an application reaches them, its databases and brokers by SSH."""

from __future__ import annotations

import itertools
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx

from routing.load import load
from tests.chaos.broker_state import Broker
from tests.chaos.evidence import Places
from tests.hosts.controller import Controller
from tests.hosts.fleet import Fleet
from tests.support.fleet import wait_until
from tests.support.ports import free_port

KEY = "key-of-the-test-tenant"
ADMINISTRATOR = "administrator"

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 8.0
"""An application that waits longer for a host that is lost asks the other one as much later."""

_TUNNEL_SECONDS = 20.0


class Gateways(httpx.BaseTransport):
    """All gateways under one URL, as a name with several addresses is: who does not answer is passed over.

    Connections that are kept open to one that has let a request wait are not used again: those to a lost
    host look as if they were well, and each would have to run into its own time-out.
    """

    def __init__(self, names: Sequence[str], ca: Path) -> None:
        self._tls = ssl.create_default_context(cafile=ca)
        self._ways = {name: self._new_way() for name in names}
        self._given_up: list[httpx.HTTPTransport] = []
        self._turns = itertools.count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        names = list(self._ways)
        turn = next(self._turns) % len(names)
        request.extensions["timeout"] |= {"connect": _CONNECT_SECONDS, "read": _ANSWER_SECONDS}
        for name in (*names[turn:], *names[:turn]):
            request.url = request.url.copy_with(host=name)
            request.headers["Host"] = name
            way = self._ways[name]
            try:
                return way.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
            except httpx.TimeoutException:
                # Others may be at it with requests that are under way: it is left to them.
                if self._ways[name] is way:
                    self._ways[name] = self._new_way()
                    self._given_up.append(way)
                raise
        raise failure

    def _new_way(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=self._tls, limits=httpx.Limits(max_connections=64))

    def close(self) -> None:
        for way in (*self._ways.values(), *self._given_up):
            way.close()


@contextmanager
def places(fleet: Fleet, controller: Controller, maildir: Path) -> Iterator[Places]:
    """Where the oracle looks, at whichever hosts run at this moment.

    The firewall lets the controller in by SSH alone, so these ways lead through hosts that may themselves ask.
    """
    running = fleet.running()
    secrets, trusted = controller.secrets(), controller.trusted
    client = next(name for name in ("checks1", "checks2") if name in running)
    broker = next(name for name in ("broker1", "broker2", "broker3") if name in running)
    with ExitStack() as stack:
        databases = [("database1", 5432), ("database2", 5432)]
        ports = stack.enter_context(tunnels(controller, client, databases))
        [management] = stack.enter_context(tunnels(controller, "monitoring1", [(broker, 15671)]))
        yield Places(
            "https://gateways",
            KEY,
            database_url(ports, secrets["vault_database_password"], trusted),
            Broker(
                f"https://localhost:{management}",
                ADMINISTRATOR,
                secrets["vault_broker_administrator_password"],
                load().vhost,
                ssl.create_default_context(cafile=trusted),
            ),
            maildir,
            lambda: Gateways(("gateway1", "gateway2"), trusted),
        )


def database_url(ports: Sequence[int], password: str, ca: Path) -> str:
    """The primary's URL, behind two local ports that lead to database1 and database2."""
    hosts = ",".join(f"database{number}:{port}" for number, port in enumerate(ports, 1))
    local = ",".join(["127.0.0.1"] * len(ports))
    return (
        f"postgresql://doorbell:{quote(password, safe='')}@{hosts}/doorbell?hostaddr={local}"
        f"&target_session_attrs=read-write&sslmode=verify-full&sslrootcert={ca}"
    )


@contextmanager
def tunnels(
    controller: Controller, through: str, targets: Sequence[tuple[str, int]]
) -> Iterator[list[int]]:
    """Local ports that lead through a host to others' ports."""
    ports = [free_port() for _ in targets]
    ways = [f"-L127.0.0.1:{p}:{host}:{at}" for p, (host, at) in zip(ports, targets, strict=True)]
    command = controller.ssh_command(through, "-N", "-o", "ExitOnForwardFailure=yes", *ways)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: all(_answers(port) for port in ports), _TUNNEL_SECONDS, "no tunnel")
        yield ports
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
