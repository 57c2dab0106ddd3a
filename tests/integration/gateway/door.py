"""A real gateway on a real socket, as applications and tests see it."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI

from routing.load import load
from services.celery_app import make_app as make_celery_app
from services.domain.errors import Unavailable
from services.gateway.app import make_app
from services.gateway.outbox import PublishesMessages
from services.gateway.parts import Parts
from services.gateway.plans import plans
from services.ledger.message import Message
from services.ledger.publisher import Publisher
from services.settings import Settings
from tests.support import fleet

NO_BROKER = "pyamqp://gateway:x@127.0.0.1:1/doorbell"
KEYS = {"shop": "key-of-shop", "bank": "key-of-bank"}
T = TypeVar("T")


def login(**changes: object) -> dict[str, Any]:
    """A valid login with an event id of its own."""
    value: dict[str, Any] = {
        "event_id": str(uuid4()),
        "user_id": "ada",
        "occurred_at": datetime.now(UTC).isoformat(),
        "ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0",
    }
    return value | changes


def wait_until(ask: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true answer; fails when there is none in time."""
    return fleet.wait_until(ask, seconds)


@dataclass
class Door:
    """A running gateway as an application sees it, and its database as a test sees it."""

    url: str
    database_url: str
    app: FastAPI
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def parts(self) -> Parts:
        parts: Parts = self.app.state.parts
        return parts

    def client(self, tenant: str = "shop") -> httpx.Client:
        headers = {"Authorization": f"Bearer {KEYS[tenant]}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)
        self.clients.append(client)
        return client

    def report(self, body: object, tenant: str = "shop", **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client(tenant).post("/v1/logins", json=body, headers=names)

    def report_batch(self, *logins: object) -> httpx.Response:
        return self.client().post("/v1/logins:batch", json={"logins": logins})

    def read(self, path: str, tenant: str = "shop") -> httpx.Response:
        return self.client(tenant).get(path)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


class AbsentBroker:
    """A publisher whose broker never answers, without the time that finding out takes."""

    def publish(self, messages: Sequence[Message]) -> list[str]:
        raise Unavailable(f"no broker for {len(messages)} messages")

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def opened_door(database_url: str, broker_url: str | None = None) -> Iterator[Door]:
    """Serve on a free port until the end of the block; without a URL, the broker is absent."""
    topology = load()
    celery_app = make_celery_app(
        Settings(broker_url=broker_url or NO_BROKER, database_url=database_url), topology
    )

    def new_publisher() -> PublishesMessages:
        return Publisher(celery_app, 3.0) if broker_url else AbsentBroker()

    app = make_app(database_url, plans(celery_app, topology), new_publisher)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    door = Door(f"http://127.0.0.1:{listener.getsockname()[1]}", database_url, app)
    try:
        wait_until(lambda: server.started)
        yield door
    finally:
        for client in door.clients:
            client.close()
        server.should_exit = True
        thread.join(30)
        listener.close()


def add_tenants(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for tenant, key in KEYS.items():
            connection.execute("INSERT INTO tenant (id, name) VALUES (%s, %s)", (tenant, tenant))
            digest = hashlib.sha256(key.encode()).digest()
            connection.execute(
                "INSERT INTO api_key (key_sha256, tenant_id) VALUES (%s, %s)", (digest, tenant)
            )
