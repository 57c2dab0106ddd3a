"""Frames are read and written together, and none is missed, torn or left behind."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from struct import pack
from typing import Any

import amqp.transport
import kombu.transport.pyamqp
import pytest
from amqp.exceptions import RecoverableConnectionError, UnexpectedFrame
from kombu import Connection as KombuConnection
from kombu.asynchronous import Hub
from kombu.transport import resolve_transport

from services.ledger import amqp_frames

FRAMES = [(1, 1, b"method"), (2, 1, b""), (8, 0, b""), (3, 65_535, bytes(range(256)) * 700)]
"""Of each type; the last is more than one system call reads."""


def bytes_of(frames: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        pack(">BHI", kind, channel, len(data)) + data + b"\xce" for kind, channel, data in frames
    )


@pytest.fixture
def pair() -> Iterator[tuple[amqp_frames.Connection, socket.socket]]:
    """A connection that has read nothing yet, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    transport = amqp_frames.Connection().Transport("broker.example", None)
    transport.sock, transport.connected = ours, True
    transport._setup_transport()
    connection = amqp_frames.Connection()
    connection.transport = transport
    yield connection, theirs
    ours.close()
    theirs.close()


def record(connection: amqp_frames.Connection) -> list[tuple[int, int, bytes]]:
    """Where the frames go that the connection handles; each counts as a whole event."""
    handled: list[tuple[int, int, bytes]] = []

    def handle(frame: tuple[int, int, bytes]) -> bool:
        handled.append(frame)
        return True

    connection.on_inbound_frame = handle
    return handled


def watched(connection: amqp_frames.Connection) -> tuple[amqp_frames.Transport, Hub]:
    """A loop that reads the connection's frames."""
    hub = Hub()
    transport = amqp_frames.Transport(KombuConnection("pyamqp://"))
    transport.register_with_event_loop(connection, hub)
    return transport, hub


@pytest.mark.parametrize("size", [1, 3, 7, 8, 4096, 1_000_000])
def test_frames_come_whole_however_their_bytes_come(
    pair: tuple[amqp_frames.Connection, socket.socket], size: int
) -> None:
    """Between any two reads, the time-out may pass; nothing of what came is lost with it."""
    connection, theirs = pair
    handled = record(connection)
    sent = bytes_of(FRAMES[:3] * 3 + FRAMES[3:] if size > 8 else FRAMES[:3])
    for at in range(0, len(sent), size):
        part = sent[at : at + size]
        while part:
            part = part[theirs.send(part, socket.MSG_DONTWAIT) :] if writable(theirs) else part
            drain(connection)

    assert handled == (FRAMES[:3] * 3 + FRAMES[3:] if size > 8 else FRAMES[:3])
    assert connection.connected


def writable(end: socket.socket) -> bool:
    return bool(select.select([], [end], [], 0)[1])


def drain(connection: amqp_frames.Connection) -> None:
    while True:
        try:
            connection.drain_events(timeout=0)
        except TimeoutError:
            return


def test_what_is_no_frame_is_said(pair: tuple[amqp_frames.Connection, socket.socket]) -> None:
    """As py-amqp does: the connection is of no use then."""
    connection, theirs = pair
    theirs.sendall(bytes_of(FRAMES[:1])[:-1] + b"\x00")

    with pytest.raises(UnexpectedFrame, match="ends with 0x00"):
        connection.blocking_read(timeout=1)


def test_a_broker_that_hangs_up_is_noticed(
    pair: tuple[amqp_frames.Connection, socket.socket],
) -> None:
    """What came before that is handled first."""
    connection, theirs = pair
    handled = record(connection)
    theirs.sendall(bytes_of(FRAMES[:1]))
    theirs.close()
    connection.drain_events(timeout=1)

    with pytest.raises(OSError, match="closed connection"):
        connection.drain_events(timeout=1)

    assert handled == FRAMES[:1]
    assert not connection.connected


def test_frames_behind_an_answer_wait_for_no_other(
    pair: tuple[amqp_frames.Connection, socket.socket],
) -> None:
    """Whoever waited for the first has read the others too: the socket will not tell of them."""
    connection, theirs = pair
    handled = record(connection)
    _, hub = watched(connection)
    theirs.sendall(bytes_of(FRAMES[:3]))
    connection.blocking_read(timeout=1)
    assert handled == FRAMES[:1]
    assert not select.select([connection.transport.sock], [], [], 0)[0]

    hub.call_later(0.01, lambda: None)
    next(hub.create_loop())

    assert handled == FRAMES[:3]
    hub.close()


def test_one_turn_of_the_loop_handles_all_that_came(
    pair: tuple[amqp_frames.Connection, socket.socket],
) -> None:
    """And a connection that is gone is watched no more; who reads from it is told."""
    connection, theirs = pair
    handled = record(connection)
    transport, hub = watched(connection)
    theirs.sendall(bytes_of(FRAMES[:3] * 20))

    loop = hub.create_loop()
    next(loop)
    assert handled == FRAMES[:3] * 20

    connection.transport.connected = False
    hub.call_later(0.01, lambda: None)
    next(loop)
    assert not hub.on_tick
    with pytest.raises(RecoverableConnectionError):
        transport.on_readable(connection, hub)
    hub.close()


def test_what_is_gathered_leaves_together(
    pair: tuple[amqp_frames.Connection, socket.socket],
) -> None:
    """At the end, when it is much, or when asked; never after an exception."""
    connection, theirs = pair
    transport: Any = connection.transport
    with transport.gathering():
        transport.write(b"one")
        transport.write(memoryview(b"two"))
        assert not select.select([theirs], [], [], 0)[0]
        transport.flush()
        assert theirs.recv(100) == b"onetwo"
        transport.write(bytes(70_000))
        assert select.select([theirs], [], [], 0)[0]
        transport.write(b"three")
    received = b""
    while len(received) < 70_005:
        received += theirs.recv(100_000)
    assert received == bytes(70_000) + b"three"

    def break_off() -> None:
        with transport.gathering():
            transport.write(b"four")
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    transport.write(b"five")
    assert theirs.recv(100) == b"five"


def test_both_kinds_of_url_are_meant() -> None:
    """Also the other brokers of a list, whose scheme kombu looks up again."""
    amqp_frames.move_together()
    amqp_frames.move_together()

    for scheme in ("amqp", "pyamqp"):
        found: Any = resolve_transport(scheme)
        assert found is amqp_frames.Transport


def test_who_has_connected_before_moves_them_together_from_now_on() -> None:
    """kombu keeps what it has looked up."""
    aliases = dict.fromkeys(("amqp", "pyamqp"), "kombu.transport.pyamqp:Transport")
    kombu.transport.TRANSPORT_ALIASES.update(aliases)
    for scheme in aliases:
        kombu.transport._transport_cache.pop(scheme, None)
        assert kombu.transport.get_transport_cls(scheme) is kombu.transport.pyamqp.Transport

    amqp_frames.move_together()
    for scheme in aliases:
        found: Any = kombu.transport.get_transport_cls(scheme)
        assert found is amqp_frames.Transport


def test_with_tls_too() -> None:
    """The bytes are then OpenSSL's; the frames are read the same way."""
    made = amqp_frames.Connection().Transport("broker.example", None, ssl=True)

    assert isinstance(made, amqp.transport.SSLTransport)
    assert type(made).read_frame is type(amqp_frames.Connection().Transport("b", None)).read_frame
