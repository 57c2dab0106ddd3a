"""A ledger with a database a test and one broker for all; no worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.settings import Settings
from tests.support.fleet import with_the_topology
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

VHOST = "doorbell"


class Database:
    """A fresh database and what a test asks of it directly."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def connect(self) -> Iterator[Connection[Any]]:
        """A connection whose transaction the test ends, or it is rolled back."""
        connection = psycopg.connect(self.url)
        try:
            yield connection
        finally:
            # The server frees a closed connection's locks when it gets to it: a rollback waits for that.
            if not connection.closed:
                connection.rollback()
            connection.close()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *values: object) -> Any:
        return self.rows(statement, *values)[0][0]

    def add_workflow(self) -> UUID:
        workflow_id = uuid4()
        self.rows("INSERT INTO tenant VALUES ('shop', 'The Shop') ON CONFLICT DO NOTHING")
        self.rows(
            "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'login')", workflow_id
        )
        return workflow_id


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture
def database(postgres: PrivatePostgres) -> Iterator[Database]:
    with postgres.database() as url:
        yield Database(url)


@pytest.fixture
def make(database: Database) -> Iterator[Callable[[str], DoorbellApp]]:
    """The product's app for a broker that the test chooses."""
    apps: list[DoorbellApp] = []

    def made(broker_url: str) -> DoorbellApp:
        app = make_app(Settings(broker_url=broker_url, database_url=database.url), load())
        apps.append(app)
        return app

    yield made
    for app in apps:
        app.ledger.publisher().close()
        app.ledger.close()
        app.close()


@pytest.fixture
def offline(make: Callable[[str], DoorbellApp]) -> DoorbellApp:
    """An app whose broker is away: nobody listens on port 1."""
    return make(f"pyamqp://nobody:nothing@127.0.0.1:1/{VHOST}")


@pytest.fixture
def app(make: Callable[[str], DoorbellApp], node: PrivateRabbitMQ) -> DoorbellApp:
    return make(node.broker_url(ADMINISTRATOR, node.password, VHOST))


@pytest.fixture
def queue(node: PrivateRabbitMQ) -> Iterator[str]:
    """A work queue that nobody consumes, empty before and after."""
    name = "db_writes"
    yield name
    node.manage("DELETE", f"queues/{VHOST}/{name}/contents")
