"""What Doorbell calls outside, in this process: an outlier API and a webhook receiver, each with a call log."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

REFUSED = "refused"
SUSPECT = "suspect"
"""Users whose id begins so: the API refuses the one for good, and has the other locked.

Logins with the authentication method SUSPECT are taken like those of such users.
"""

Manner = Literal["well", "hang", "reset", "error", "rubbish"]

_HANG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call, or one request of a list. `key` is its idempotency key or delivery id; `answer` None: no answer."""

    at: float
    key: str
    answer: int | None


class Receiver:
    """An HTTP server that notes every call before it answers, and answers well or badly.

    `manner` may be changed while it runs. A call that began to hang goes on to do
    so until the manner changes. `answer_to` makes the good answer of a call's body.
    """

    def __init__(
        self,
        key_header: str,
        answer_to: Callable[[Any], tuple[int, Any]],
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.manner: Manner = "well"
        self.calls: list[Call] = []
        self._key_header = key_header
        self._answer_to = answer_to
        self._server = _Server((host, port), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith(":batch"):
                    requests = body["requests"]
                    outer._receive(self, [each["request_id"] for each in requests], requests)
                else:
                    outer._receive(self, [str(self.headers[outer._key_header])], body)

            def log_message(self, *_: Any) -> None:
                """Keep the run's output clean."""

        return Handler

    def _receive(self, handler: BaseHTTPRequestHandler, keys: Sequence[str], body: Any) -> None:
        at, manner = time.time(), self.manner
        status, answer = (
            self._answer_together(body) if isinstance(body, list) else self._answer_to(body)
        )
        if manner == "error":
            status, answer = 500, {"detail": "as asked"}
        # A list that is refused answers none of it: each is asked about again.
        is_answer = manner in ("well", "error") and not (isinstance(body, list) and status != 200)
        self.calls += [Call(at, key, status if is_answer else None) for key in keys]
        if manner == "hang":
            self._hang(at)
        if manner in ("hang", "reset"):
            _reset(handler)
        else:
            text = b'{"score": ' if manner == "rubbish" else json.dumps(answer).encode()
            _write(handler, status, text, is_slow=manner == "rubbish")

    def _answer_together(self, requests: Sequence[Any]) -> tuple[int, Any]:
        answers = [self._answer_to(request) for request in requests]
        worst = max(status for status, _ in answers)
        return worst, {"answers": [answer for _, answer in answers]}

    def _hang(self, since: float) -> None:
        while self.manner == "hang" and time.time() - since < _HANG_SECONDS:
            time.sleep(0.05)


class _Server(ThreadingHTTPServer):
    # A kept connection's thread ends when its client closes it, maybe after the run.
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed has closed its connection: nothing to report."""


def outlier_api(host: str = "127.0.0.1", port: int = 0) -> Receiver:
    """An outlier API: refuses users called REFUSED..., denies SUSPECT..., allows the others."""

    def judge(asked: Any) -> tuple[int, Any]:
        if asked["user_id"].startswith(REFUSED):
            return 422, {"detail": "as asked"}
        is_suspect = asked["user_id"].startswith(SUSPECT) or asked.get("auth_method") == SUSPECT
        return 200, {
            "request_id": asked["request_id"],
            "score": 9.0 if is_suspect else 0.1,
            "level": "high" if is_suspect else "low",
            "action": "deny" if is_suspect else "allow",
            "reasons": ["as_asked"] if is_suspect else [],
            "model_version": "chaos",
        }

    return Receiver("Idempotency-Key", judge, host, port)


def webhook_receiver(host: str = "127.0.0.1", port: int = 0) -> Receiver:
    """An application's webhook."""
    return Receiver("webhook-id", lambda _: (200, {}), host, port)


def _write(handler: BaseHTTPRequestHandler, status: int, text: bytes, is_slow: bool) -> None:
    try:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        for part in [bytes([byte]) for byte in text] if is_slow else [text]:
            handler.wfile.write(part)
            time.sleep(0.3 if is_slow else 0.0)
    except OSError:
        handler.close_connection = True


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection in the way that the other side sees as a reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
