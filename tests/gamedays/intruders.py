"""What does not belong to the cluster and disturbs it: something in a service's place, somebody who eats messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from kombu import Connection

from tests.gamedays.grounds import Grounds

_USER = "intruder"


@contextmanager
def refusing_api(grounds: Grounds) -> Iterator[None]:
    """At the outlier API's address something answers that refuses every call."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    grounds.supervise("stop", "outlier_api")
    port = urlsplit(grounds.endpoints["outlier_api"]).port or 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        grounds.supervise("start", "outlier_api")


@contextmanager
def eater(grounds: Grounds, queue: str, task: str) -> Iterator[None]:
    """A consumer beside the pool's: it acknowledges what it gets of one task, and does nothing with it."""
    with _intruder(grounds) as connection:
        channel: Any = connection.default_channel

        def eat(message: Any) -> None:
            if message.headers.get("task") == task:
                channel.basic_ack(message.delivery_tag)
            else:
                channel.basic_reject(message.delivery_tag, requeue=True)

        channel.basic_qos(0, 1, False)
        channel.basic_consume(queue, callback=eat)
        stop = threading.Event()

        def consume() -> None:
            while not stop.is_set():
                try:
                    connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def stopped_dead_lettering(grounds: Grounds) -> Iterator[None]:
    """A message with a made-up x-death header is rejected: RabbitMQ 3.10's processes that move such end."""
    queue = "device_checks"
    with _intruder(grounds) as connection:
        grounds.supervise("stop", f"{queue}.1")
        channel: Any = connection.default_channel
        message = channel.prepare_message(b"x", headers={"x-death": [5]})
        channel.basic_publish(message, "doorbell", queue)
        # Others that wait are only held, and return with the connection's end.
        while "x-death" not in ((got := channel.basic_get(queue)).headers or {}):
            pass
        channel.basic_reject(got.delivery_tag, requeue=False)
    grounds.supervise("start", f"{queue}.1")
    yield


@contextmanager
def _intruder(grounds: Grounds) -> Iterator[Connection]:
    """Somebody who may do anything on the broker."""
    grounds.rabbitmqctl("add_user", _USER, _USER)
    grounds.rabbitmqctl("set_permissions", "-p", "doorbell", _USER, ".*", ".*", ".*")
    try:
        with grounds.connect(_USER, _USER) as connection:
            yield connection
    finally:
        grounds.rabbitmqctl("delete_user", _USER)
