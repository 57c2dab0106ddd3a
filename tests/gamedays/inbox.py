"""Who is woken: a web server that Alertmanager tells of alerts, as it would tell a pager."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

import yaml


@dataclass(frozen=True, slots=True)
class Told:
    """One alert of one notification: when it came, its severity's receiver, and what it says."""

    at: float
    receiver: str
    alert: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Inbox:
    """Everything that was told so far, in its order.

    refuses: receivers that hear nothing, as if nobody were there.
    """

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.refuses: set[str] = set()
        self.port = 0

    def find(self, alert: str, status: str, since: float) -> Told | None:
        """The first such news since a moment (seconds since 1970)."""
        for each in list(self.told):
            if (each.alert, each.status) == (alert, status) and each.at >= since:
                return each
        return None

    def receivers(self, host: str) -> str:
        """A file as in deploy/alertmanager/README.md that has everything told here; `host` is its address."""
        hook = [{"url": f"http://{host}:{self.port}/", "send_resolved": True}]
        return yaml.safe_dump({name: {"webhook_configs": hook} for name in ("page", "ticket")})

    def pages(self, since: float) -> list[str]:
        """The alerts that woke somebody since then, each once."""
        return sorted(
            {
                each.alert
                for each in list(self.told)
                if each.at >= since and each.status == "firing" and each.receiver == "page"
            }
        )


@contextmanager
def inbox(address: str = "127.0.0.1", port: int = 0) -> Iterator[Inbox]:
    """A running one, on a free port unless one is named."""
    found = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["receiver"] in found.refuses:
                self.send_error(503)
                return
            for alert in body["alerts"]:
                labels = alert["labels"]
                found.told.append(
                    Told(
                        time(),
                        body["receiver"],
                        labels["alertname"],
                        alert["status"],
                        dict(labels),
                        dict(alert["annotations"]),
                    )
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
