"""Moves AMQP's frames many at a time between a socket and a process."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from struct import unpack_from
from typing import Any

import amqp.transport
from amqp.exceptions import RecoverableConnectionError, UnexpectedFrame
from kombu import transport as transports
from kombu.transport import TRANSPORT_ALIASES, pyamqp

_AT_ONCE = 64 * 1024
"""Bytes that one system call reads; so many are written by one."""

_HEADER_BYTES = 7
_END = 0xCE

_NOTHING_YET = (errno.EAGAIN, errno.EINTR, errno.ENOENT)
"""With TLS on top, the last as well: OpenSSL wants to read more."""

_SCHEMES = ("amqp", "pyamqp")


def move_together() -> None:
    """Have connections to the broker read and write frames together. Idempotent.

    py-amqp (5.4) reads a frame with three system calls and sets the socket's time-out twice for
    it; a task message is three frames. That was a tenth of a busy pool's time.
    """
    for scheme in _SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        # Who has connected before has had kombu look its own up.
        transports._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # not in its stub


class _Together:
    """What py-amqp's transports are given here, in front of theirs."""

    connected: bool
    raise_on_initial_eintr: bool
    _quick_recv: Any
    _received: bytes
    _position: int
    _gathered: bytearray | None

    def _setup_transport(self) -> None:
        super()._setup_transport()  # type: ignore[misc]  # of the class behind this one
        self._received, self._position = b"", 0
        self._gathered = None

    def next_frame(self) -> tuple[int, int, bytes] | None:
        """The next of the frames that have been read: type, channel, payload. None if none is whole.

        Raises:
            UnexpectedFrame: the bytes are no frame.
        """
        received, begin = self._received, self._position + _HEADER_BYTES
        if begin > len(received):
            return None
        kind, channel, size = unpack_from(">BHI", received, self._position)
        end = begin + size
        if end >= len(received):
            return None
        if received[end] != _END:
            raise UnexpectedFrame(f"a frame ends with {received[end]:#04x}, not {_END:#04x}")
        self._position = end + 1
        return kind, channel, received[begin:end]

    def read_frame(self, *_: Any) -> tuple[int, int, bytes]:
        """As py-amqp's; what a time-out interrupts is kept, and goes on with the next call."""
        while (frame := self.next_frame()) is None:
            try:
                more = self._quick_recv(_AT_ONCE)
            except TimeoutError:
                raise
            except OSError as error:
                if error.errno not in _NOTHING_YET:
                    self.connected = False
                    raise
                if self.raise_on_initial_eintr:
                    raise TimeoutError from error
                continue
            if not more:
                self.connected = False
                raise OSError("Server unexpectedly closed connection")
            self._received = self._received[self._position :] + more
            self._position = 0
        return frame

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """What is written meanwhile leaves together, at the end, when there is much of it, or by `flush`.

        An exception leaves the rest unwritten: the connection is then good for nothing but to be closed.
        """
        self._gathered = bytearray()
        try:
            yield
            self.flush()
        finally:
            self._gathered = None

    def flush(self) -> None:
        """Write what was gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            super().write(gathered)  # type: ignore[misc]  # of the class behind this one

    def write(self, data: bytes | memoryview) -> None:
        """As py-amqp's; see `gathering`."""
        if self._gathered is None:
            super().write(data)  # type: ignore[misc]  # of the class behind this one
            return
        self._gathered += data
        if len(self._gathered) >= _AT_ONCE:
            self.flush()


class _PlainTransport(_Together, amqp.transport.TCPTransport):
    pass


class _TlsTransport(_Together, amqp.transport.SSLTransport):
    pass


class Connection(pyamqp.Connection):
    """kombu's, over transports that move frames together."""

    transport: Any
    on_inbound_frame: Any

    def Transport(  # noqa: N802  # py-amqp's name
        self,
        host: str,
        connect_timeout: float | None,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        **options: Any,
    ) -> Any:
        """py-amqp's hook: what moves this connection's bytes."""
        kind: Any = _TlsTransport if ssl else _PlainTransport
        return kind(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            socket_settings=socket_settings,
            **options,
        )

    def blocking_read(self, timeout: float | None = None) -> bool:  # type: ignore[override]  # its stub says None
        """As py-amqp's, and without a system call for a frame that has been read already."""
        frame = self.transport.next_frame()
        if frame is None:
            with self.transport.having_timeout(timeout):
                frame = self.transport.read_frame()
        return bool(self.on_inbound_frame(frame))

    def take_received(self) -> None:
        """Handle all frames that have been read: no poller tells of them, for the socket has them no more."""
        while self.connected and (frame := self.transport.next_frame()) is not None:
            self.on_inbound_frame(frame)


class Transport(pyamqp.Transport):
    """kombu's, whose event loop misses no frame that came together with others."""

    Connection = Connection

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As kombu's; each turn of the loop begins its wait with nothing unhandled.

        Whoever waits for an answer of the broker's, as for a new prefetch count, may have read
        messages behind it.
        """
        super().register_with_event_loop(connection, loop)

        def take_received() -> None:
            if connection.connected:
                connection.take_received()
            else:
                loop.on_tick.discard(take_received)

        loop.on_tick.add(take_received)

    def on_readable(self, connection: Any, loop: Any) -> None:
        """As kombu's; handles all that one read brings, not one message in each turn of the loop."""
        if not connection.connected:
            raise RecoverableConnectionError("Socket was disconnected")
        try:
            connection.drain_events(timeout=0)
        except TimeoutError:
            return
        connection.take_received()
        # With TLS, more may be decrypted already, of which no poller tells.
        if isinstance(connection.transport, _TlsTransport):
            loop.call_soon(self.on_readable, connection, loop)
