"""The way to several gateways under one URL leaves none of its connections open."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.hosts import doors
from tests.hosts.doors import Gateways
from tests.support.certificates import Authority

pytestmark = pytest.mark.timeout(60)

_AT_ONCE = 3


def test_connections_to_a_gateway_that_lets_wait_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that lay idle too: Python warns of a socket that nobody closes, and here a warning fails a test."""
    monkeypatch.setattr(doors, "_ANSWER_SECONDS", 0.3)
    authority = Authority(tmp_path)
    with _gateway(authority) as url:
        client = httpx.Client(base_url=url, transport=Gateways(("localhost",), authority.file))
        with client, ThreadPoolExecutor(_AT_ONCE) as threads:
            assert [a.status_code for a in threads.map(client.get, ["/all"] * _AT_ONCE)] == [
                200
            ] * _AT_ONCE
            with pytest.raises(httpx.ReadTimeout):
                client.get("/never")
            assert [a.status_code for a in threads.map(client.get, ["/all"] * _AT_ONCE)] == [
                200
            ] * _AT_ONCE


@contextmanager
def _gateway(authority: Authority) -> Iterator[str]:
    """A server that answers /all when so many have asked as there are at once, and anything else when it ends."""
    together, over = threading.Barrier(_AT_ONCE), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/all":
                together.wait()
            else:
                over.wait()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    made = authority.issue("localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.file, made.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"https://gateways:{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            serving.join()
