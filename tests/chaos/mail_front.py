"""Stands before the mail sink and lets mails through, or behaves as mail servers do on bad days."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

Manner = Literal["well", "hang", "reset", "later"]

_KEPT = b"250 2.0.0 kept"
"""How the mail sink begins the answer that the sender must see to know that the mail is safe."""

_HANG_SECONDS = 30.0


class MailFront:
    """Forwards connections to a mail server on the loopback address.

    hang: says nothing. later: 421. reset: of two connections, one is reset at
    once and one when the mail is kept but its sender does not know; the second
    kind can repeat a mail, so `on_cut` is called just before.
    """

    def __init__(self, server_port: int, on_cut: Callable[[], object]) -> None:
        self.manner: Manner = "well"
        self._server_port = server_port
        self._on_cut = on_cut
        self._resets = itertools.count()
        self._front = _Front(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._front.serve_forever, kwargs={"poll_interval": 0.1}
        )

    @property
    def port(self) -> int:
        return int(self._front.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.manner = "well"
        self._front.shutdown()
        self._front.server_close()
        self._thread.join()

    def _handler(outer) -> type[socketserver.BaseRequestHandler]:  # noqa: N805  # it has a self of its own
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._serve(self.request)

        return Handler

    def _serve(self, client: socket.socket) -> None:
        manner = self.manner
        if manner == "later":
            client.sendall(b"421 4.3.2 come back later\r\n")
        elif manner == "hang":
            began = time.monotonic()
            while self.manner == "hang" and time.monotonic() - began < _HANG_SECONDS:
                time.sleep(0.05)
            _reset(client)
        elif manner == "reset" and next(self._resets) % 2:
            _reset(client)
        else:
            self._forward(client, is_cut=manner == "reset")

    def _forward(self, client: socket.socket, is_cut: bool) -> None:
        address = ("127.0.0.1", self._server_port)
        with (
            socket.create_connection(address, 10) as server,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]  # registered above
                    data = source.recv(65536)
                    if not data:
                        return
                    if is_cut and source is server and data.startswith(_KEPT):
                        self._on_cut()
                        _reset(client)
                        return
                    key.data.sendall(data)


class _Front(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
