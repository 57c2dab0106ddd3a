"""A process on a place of its own loses one service without a reset, and keeps the other."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.faults import network
from tests.support.faults.network import Place, dropped, place, why_no_namespaces
from tests.support.faults.server import Server

_ASKS = """
import socket, sys
from urllib.parse import urlsplit
for line in sys.stdin:
    url = urlsplit(line.strip())
    try:
        with socket.create_connection((url.hostname, url.port), timeout=0.5) as s:
            s.sendall(b"hello"), s.shutdown(socket.SHUT_WR)
            print(s.recv(5).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class _Echo(Server):
    async def serve(self, reader, writer) -> None:  # type: ignore[no-untyped-def]
        while data := await reader.read(100):
            writer.write(data)


@contextmanager
def _asking(where: Place) -> Iterator[subprocess.Popen[str]]:
    command = [*where.prefix, sys.executable, "-c", _ASKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        yield asker
        asker.communicate()


def _ask(asker: subprocess.Popen[str], url: str) -> str:
    assert asker.stdin is not None
    assert asker.stdout is not None
    asker.stdin.write(f"{url}\n")
    asker.stdin.flush()
    return asker.stdout.readline().strip()


@pytest.fixture(params=["namespaces", "proxies"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "proxies":
        monkeypatch.setattr(network, "why_no_namespaces", lambda: "as asked")
    elif reason := why_no_namespaces():
        pytest.skip(f"no network namespaces here: {reason}")
    return str(request.param)


def test_one_link_is_dropped_and_lifted(means: str) -> None:
    """What was dropped times out, new connections included; the other service answers meanwhile."""
    with (
        _Echo() as broker,
        _Echo() as database,
        place({"broker": broker.port, "database": database.port}) as where,
        _asking(where) as asker,
    ):
        assert where.means == means
        urls = {n: where.url(n, f"x://user:secret@h:1/{n}?a=b") for n in ("broker", "database")}
        assert urls["broker"].startswith("x://user:secret@")
        assert urls["broker"].endswith("/broker?a=b")

        def answers() -> list[str]:
            return [_ask(asker, url) for url in urls.values()]

        assert answers() == ["hello", "hello"]
        with dropped(where, "broker"):
            assert answers() == ["TimeoutError", "hello"]
        with dropped(where, "database"):
            assert answers() == ["hello", "TimeoutError"]
        with dropped(where, "broker", "database"):
            assert answers() == ["TimeoutError", "TimeoutError"]
        assert answers() == ["hello", "hello"]


def test_an_open_connection_outlives_a_short_partition(means: str) -> None:
    """Nobody gets a reset, and what was sent meanwhile arrives afterwards."""
    script = """
import socket, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port), timeout=20) as s:
    print("open", flush=True)
    for line in sys.stdin:
        s.sendall(line.encode())
        print(s.recv(100).decode().strip(), flush=True)
"""
    with _Echo() as broker, place({"broker": broker.port}) as where:
        command = [*where.prefix, sys.executable, "-c", script, where.url("broker", "x://h:1/")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdout is not None
            assert client.stdin is not None
            assert client.stdout.readline() == "open\n"
            with dropped(where, "broker"):
                client.stdin.write("hello\n")
                client.stdin.flush()
            assert client.stdout.readline() == "hello\n"
            client.communicate()


def test_other_services_keep_their_address(means: str) -> None:
    """What is not to be disturbed is reached inside where it is outside."""
    with (
        _Echo() as broker,
        _Echo() as mails,
        place({"broker": broker.port}, [mails.port]) as where,
        _asking(where) as asker,
        dropped(where, "broker"),
    ):
        assert _ask(asker, f"x://127.0.0.1:{mails.port}") == "hello"
        assert means == "proxies" or _ask(asker, "x://192.0.2.1:9") == "OSError"


def test_nothing_is_left_on_the_host() -> None:
    """The host's own interfaces are the same before, during and after."""
    before = socket.if_nameindex()
    with _Echo() as broker, place({"broker": broker.port}):
        assert socket.if_nameindex() == before
    assert socket.if_nameindex() == before
