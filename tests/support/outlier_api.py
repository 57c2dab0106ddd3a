"""An outlier API that answers as a test wants it to: over real HTTP, rightly or badly."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

ANSWER = {
    "score": 0.5,
    "level": "low",
    "action": "allow",
    "reasons": [],
    "model_version": "test",
}


class AdjustableOutlierApi:
    """`status`, `body` and `hold` may be changed while it runs; `calls` counts idempotency keys, and ids in lists."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.reset()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                requests = asked.get("requests")
                if requests is None:
                    outer.calls[str(self.headers["Idempotency-Key"])] += 1
                else:
                    outer.calls.update(each["request_id"] for each in requests)
                outer.hold.wait(60)
                given = outer.body
                if given is None and self.path == "/v1/learn:batch":
                    given = json.dumps({"learned": len(requests)}).encode()
                if given is None:
                    answers = [
                        ANSWER | {"request_id": each["request_id"]} for each in requests or [asked]
                    ]
                    answer = answers[0] if requests is None else {"answers": answers}
                    given = json.dumps(answer).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(given)))
                self.end_headers()
                self.wfile.write(given)

            def log_message(self, *_: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    def reset(self) -> None:
        """Answer well and at once."""
        self.status = 200
        self.body: bytes | None = None
        self.hold = threading.Event()
        self.hold.set()

    @property
    def port(self) -> int:
        return self._server.server_port

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
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
