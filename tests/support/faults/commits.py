"""Cuts a PostgreSQL client's connection in the middle of a commit: before the server knows, or after."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Literal

from tests.support.faults.proxy import Cut, Link, Proxy

Side = Literal["before", "after"]

_STARTUP_HEADER = 8
_ENCRYPTION_REQUESTS = (80877103, 80877104)
_MESSAGE_HEADER = 5
_NEVER = 0


class CommitCutter(Proxy):
    """Passes everything; between `cut_commits` and `pass_commits` every n-th COMMIT loses its connection.

    "before": COMMIT never reaches the server, which rolls back. "after": the server has
    committed, and its answer never reaches the client. `cuts` counts both. The client sees
    the same in both cases: a connection that was reset while it waited for the answer.
    """

    def __init__(
        self, server_port: int, port: int = 0, on_cut: Callable[[], object] = lambda: None
    ) -> None:
        """port: where to listen; 0 takes a free one. on_cut: called just before each cut."""
        super().__init__(server_port, socket.create_server(("127.0.0.1", port)))
        self._on_cut = on_cut
        self.cuts: Counter[Side] = Counter()
        self.commits = 0
        self._lock = threading.Lock()
        self._every = _NEVER
        self._sides: tuple[Side, ...] = ("before", "after")
        self._choice = random.Random()

    def cut_commits(
        self, every: int, sides: tuple[Side, ...] = ("before", "after"), seed: int = 0
    ) -> None:
        """Cut every n-th commit from now on, counted over all connections."""
        with self._lock:
            self._every, self._sides, self._choice = every, sides, random.Random(seed)

    def pass_commits(self) -> None:
        """Cut no more."""
        with self._lock:
            self._every = _NEVER

    def link(self) -> Link:
        return _CommitLink(self)

    def side_to_cut(self) -> Side | None:
        """Called for each COMMIT that a client sends."""
        with self._lock:
            self.commits += 1
            if self._every == _NEVER or self.commits % self._every:
                return None
            side = self._choice.choice(self._sides)
            self.cuts[side] += 1
            self._on_cut()
            return side


class _CommitLink(Link):
    """Reads the client's messages as far as it needs to see a COMMIT, in either query protocol."""

    def __init__(self, cutter: CommitCutter) -> None:
        self._cutter = cutter
        self._is_started = False
        self._buffer = b""
        self._is_committing = False

    def from_client(self, data: bytes) -> bytes:
        self._buffer += data
        while message := self._next_message():
            if _is_commit(message) and self._is_started:
                side = self._cutter.side_to_cut()
                if side == "before":
                    raise Cut
                self._is_committing = self._is_committing or side == "after"
            self._note_startup(message)
        return data

    def from_server(self, data: bytes) -> bytes:
        if self._is_committing:
            raise Cut
        return data

    def _next_message(self) -> bytes:
        header = _MESSAGE_HEADER if self._is_started else _STARTUP_HEADER
        if len(self._buffer) < header:
            return b""
        offset = 1 if self._is_started else 0
        length = offset + int.from_bytes(self._buffer[offset : offset + 4], "big")
        if len(self._buffer) < length:
            return b""
        message, self._buffer = self._buffer[:length], self._buffer[length:]
        return message

    def _note_startup(self, message: bytes) -> None:
        if not self._is_started:
            code = int.from_bytes(message[4:8], "big")
            self._is_started = code not in _ENCRYPTION_REQUESTS


def _is_commit(message: bytes) -> bool:
    """Whether this is a simple query (Q) or a parsed statement (P) that says COMMIT."""
    kind, body = message[:1], message[_MESSAGE_HEADER:]
    if kind == b"Q":
        text = body
    elif kind == b"P":
        text = body.partition(b"\0")[2]
    else:
        return False
    return text.lstrip().upper().startswith(b"COMMIT")
