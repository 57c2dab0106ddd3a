"""A tenant's webhook URL cannot lead into a private network, however it is written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.adapters.clock import SystemClock
from services.adapters.public_addresses import is_public
from services.adapters.webhook import HttpWebhookSender
from services.domain.errors import Refused, Unavailable
from services.handlers.records import Delivery
from tests.integration.adapters.servers import HttpServer, http_server

PUBLIC = "8.8.8.8"


@pytest.fixture
def inside() -> Iterator[HttpServer]:
    """What must not be reached: a server on the loopback address."""
    with http_server(lambda _: (204, {}, b"")) as running:
        yield running


@pytest.fixture
def send() -> Iterator[Callable[..., str]]:
    """Send a delivery to a URL as the product does when no private host is allowed, or these are."""
    senders: list[HttpWebhookSender] = []

    def act(url: str, *allowed: str) -> str:
        senders.append(HttpWebhookSender(allowed, SystemClock()))
        return senders[-1].send(Delivery("d-1", url, "secret", b"{}"))

    yield act
    for sender in senders:
        sender.close()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.0.0.1."),
        *("localhost", "LOCALHOST", "localhost.", "0", "0.0.0.0", "[::]", "[::1]"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fec0::1]", "[3fff::1]"),
        *("example.org@127.0.0.1", "example.org:443@127.0.0.1", "example.org%2f@127.0.0.1"),
        *("127.0.0.1#.example.org", "127.0.0.1?.example.org", "127.0.0.1\\.example.org"),
        *("169.254.169.254", "10.0.0.1", "192.168.0.1", "100.100.100.200"),
    ],
)
def test_no_way_of_writing_a_private_address_helps(
    inside: HttpServer, send: Callable[..., str], host: str
) -> None:
    """Numbers, names, wrapped addresses and tricks with what stands around the host are all seen through."""
    port = inside.url.rpartition(":")[2]
    name, sign, rest = host.partition("#") if "#" in host else host.partition("?")
    name, back, tail = name.partition("\\")
    with pytest.raises(Refused):
        send(f"https://{name}:{port}{back}{tail}{sign}{rest}/hook")
    assert inside.received == []


class Resolver:
    """Answers look-ups of one host in turn; other hosts as usual. Remembers who was connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: str, *answers: list[str]) -> None:
        self.lookups = 0
        self.connected: list[str] = []
        usual = socket.getaddrinfo

        def getaddrinfo(name: Any, port: Any, *args: Any, **options: Any) -> Any:
            if name != host:
                return usual(name, port, *args, **options)
            found = answers[min(self.lookups, len(answers) - 1)]
            self.lookups += 1
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

        def create_connection(address: tuple[str, int], *_: Any, **__: Any) -> Any:
            self.connected.append(address[0])
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(socket, "create_connection", create_connection)


def test_a_name_that_changes_its_mind_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, send: Callable[..., str]
) -> None:
    """The address that was checked is the one that is connected to: a second answer is never used."""
    resolver = Resolver(monkeypatch, "rebind.example", [PUBLIC], ["127.0.0.1"])
    with pytest.raises(Unavailable):
        send("https://rebind.example/hook")
    assert (resolver.lookups, resolver.connected) == (1, [PUBLIC])
    with pytest.raises(Refused, match="not a public address"):
        send("https://rebind.example/hook")
    assert resolver.connected == [PUBLIC]


@pytest.mark.parametrize("order", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC]])
def test_one_private_address_among_public_ones_is_too_many(
    monkeypatch: pytest.MonkeyPatch, send: Callable[..., str], order: list[str]
) -> None:
    """A host that is half inside is refused as a whole."""
    resolver = Resolver(monkeypatch, "half.example", order)
    with pytest.raises(Refused, match="not a public address"):
        send("https://half.example/hook")
    assert resolver.connected == []


def test_a_redirect_into_the_network_is_not_followed(
    inside: HttpServer, send: Callable[..., str]
) -> None:
    """Not even from a host that is allowed: 3xx is a refusal."""
    with http_server(lambda _: (307, {"Location": f"{inside.url}/admin"}, b"")) as outside:
        with pytest.raises(Refused, match="307"):
            send(outside.url, "127.0.0.1")
        assert len(outside.received) == 1
    assert inside.received == []


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example\\@127.0.0.1/hook",
        "http://127.0.0.1@other.example/hook",
        "http://other.example#@127.0.0.1/",
        "http://other.example?@127.0.0.1/",
    ],
)
def test_plain_http_goes_to_allowed_hosts_alone(
    monkeypatch: pytest.MonkeyPatch, send: Callable[..., str], url: str
) -> None:
    """A URL that names an allowed host and means another is read as the client reads it."""
    resolver = Resolver(monkeypatch, "other.example", [PUBLIC])
    with pytest.raises(Refused, match="https://"):
        send(url, "127.0.0.1")
    assert resolver.connected == []


@pytest.mark.parametrize("allowed", ["localhost", "LocalHost"])
def test_a_name_that_is_allowed_allows_no_other(
    inside: HttpServer, send: Callable[..., str], allowed: str
) -> None:
    """What an operator names is let through by that name only, not by its address."""
    port = inside.url.rpartition(":")[2]
    assert send(f"http://localhost:{port}/hook", allowed) == "HTTP 204"
    with pytest.raises(Refused):
        send(f"https://127.0.0.1:{port}/hook", allowed)
    assert len(inside.received) == 1


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_wrapping_a_private_address_hides_nothing(address: Any) -> None:
    """Mapped, translated and tunnelled forms are judged by the address inside."""
    high, low = int(address) >> 16, int(address) & 0xFFFF
    teredo = f"2001::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
    forms = [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{high:x}:{low:x}::1", teredo]
    assert [form for form in forms if is_public(form)] == []
