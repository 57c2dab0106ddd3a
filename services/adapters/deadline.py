"""An end for a call over sockets, however slowly the other side drips."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from services.domain.errors import Unavailable


class Deadline:
    """Cuts the sockets it watches when its time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._is_over = False

    def check(self) -> None:
        """Raise Unavailable if time is up: whatever was read then may be cut short."""
        if self._is_over:
            raise Unavailable(f"no complete answer within {self._seconds:g} s")

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection too when time is up."""
        # A descriptor of its own: TLS takes the socket object over, and a closed
        # one's number could belong to another connection by then.
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._watched.append(duplicate)
            if self._is_over:
                _cut(duplicate)

    def expire(self) -> None:
        with self._lock:
            self._is_over = True
            for connection in self._watched:
                _cut(connection)

    def close(self) -> None:
        with self._lock:
            for connection in self._watched:
                connection.close()
            self._watched.clear()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Cut what is watched inside the block after `seconds`.

    A cut connection looks like one that the other side closed, so an answer may
    look complete: call `check` before believing it.
    """
    limit = Deadline(seconds)
    timer = threading.Timer(seconds, limit.expire)
    timer.daemon = True
    token = _current.set(limit)
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()
        _current.reset(token)
        limit.close()


def watch(connection: socket.socket) -> None:
    """Put a connection under the deadline of the running block, if there is one."""
    if (limit := _current.get()) is not None:
        limit.watch(connection)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


_current: ContextVar[Deadline | None] = ContextVar("doorbell_deadline", default=None)
