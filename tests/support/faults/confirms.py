"""Swallows the confirms that a broker sends to its publishers, then cuts their connections."""

from __future__ import annotations

import struct
import threading

from tests.support.faults.proxy import Link, Proxy

_HEADER = 7
_END = 1
_METHOD_FRAME = 1
_BASIC_ACK = (60, 80)
_BASIC_PUBLISH = (60, 40)


class ConfirmSwallower(Proxy):
    """Passes AMQP; between `swallow` and `pass_confirms` no basic.ack of the broker reaches a client.

    `swallowed` counts the frames that vanished (one may confirm several messages),
    `published` the messages that came through meanwhile or before.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.swallowed = 0
        self.published = 0
        self._swallowing = threading.Event()

    def swallow(self) -> None:
        """Let no confirm through from now on; everything else passes."""
        self._swallowing.set()

    def pass_confirms(self, cut: bool = True) -> None:
        """Let confirms through again; `cut` resets every connection that may wait for a lost one."""
        self._swallowing.clear()
        if cut:
            self.cut()

    def link(self) -> Link:
        return _ConfirmLink(self)

    def takes(self) -> bool:
        """Called for each confirm: whether it vanishes."""
        if not self._swallowing.is_set():
            return False
        self.swallowed += 1
        return True


class _ConfirmLink(Link):
    def __init__(self, swallower: ConfirmSwallower) -> None:
        self._swallower = swallower
        self._from_client = _Frames(skip=len(b"AMQP\x00\x00\x09\x01"))
        self._from_server = _Frames()

    def from_client(self, data: bytes) -> bytes:
        for frame in self._from_client.feed(data):
            self._swallower.published += _method(frame) == _BASIC_PUBLISH
        return data

    def from_server(self, data: bytes) -> bytes:
        return b"".join(
            frame
            for frame in self._from_server.feed(data)
            if _method(frame) != _BASIC_ACK or not self._swallower.takes()
        )


class _Frames:
    """Cuts a stream into whole AMQP 0-9-1 frames."""

    def __init__(self, skip: int = 0) -> None:
        self._skip = skip
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now."""
        self._buffer += data
        if self._skip:
            if len(self._buffer) < self._skip:
                return []
            self._buffer, self._skip = self._buffer[self._skip :], 0
        frames, offset = [], 0
        while len(self._buffer) - offset >= _HEADER:
            (size,) = struct.unpack_from(">I", self._buffer, offset + 3)
            end = offset + _HEADER + size + _END
            if len(self._buffer) < end:
                break
            frames.append(self._buffer[offset:end])
            offset = end
        self._buffer = self._buffer[offset:]
        return frames


def _method(frame: bytes) -> tuple[int, int] | None:
    if frame[0] != _METHOD_FRAME:
        return None
    class_id, method_id = struct.unpack_from(">HH", frame, _HEADER)
    return class_id, method_id
