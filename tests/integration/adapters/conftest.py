"""A database a test with a tenant in it, and reported logins on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from services.adapters.networks import AddressData
from services.adapters.postgres import PostgresTransaction, directly
from services.domain.model import DeviceCheck, Login
from services.domain.outcome import Done
from services.handlers.check_device import check_devices
from services.handlers.ports import Directly, Networks, Transaction
from services.handlers.save_event import save_events
from services.sessions import Session
from tests.support.postgres import PrivatePostgres

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@dataclass
class World:
    """One tenant's database, seen from a test."""

    url: str
    networks: Networks = field(default_factory=AddressData)

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection[Any]]:
        with Session.connect(self.url, connect_timeout=5) as connection:
            yield connection

    @property
    def directly(self) -> Directly:
        return directly(self._connect_directly)

    @contextmanager
    def _connect_directly(self) -> Iterator[psycopg.Connection[Any]]:
        with self.connect() as connection:
            connection.autocommit = True
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A transaction as a pool's process has it."""
        with self.connect() as connection:
            yield PostgresTransaction(connection)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def report(self, user_id: str = "ada", user_agent: str = FIREFOX, **facts: Any) -> Login:
        """A login as the gateway stores it when it accepts one."""
        login = Login(
            workflow_id=facts.pop("workflow_id", None) or uuid4(),
            tenant_id="shop",
            event_id=str(uuid4()),
            user_id=user_id,
            occurred_at=facts.pop("occurred_at", AT),
            ip=facts.pop("ip", "203.0.113.7"),
            user_agent=user_agent,
            email=facts.pop("email", f"{user_id}@example.org"),
            **facts,
        )
        self.rows(
            "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'login')",
            login.workflow_id,
        )
        self.rows(
            "INSERT INTO reported_login (workflow_id, tenant_id, event_id, user_id, occurred_at,"
            " ip, user_agent, cookie_id, auth_method, email, other_email, locale, time_zone, kind,"
            " history)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            login.workflow_id,
            login.tenant_id,
            login.event_id,
            login.user_id,
            login.occurred_at,
            login.ip,
            login.user_agent,
            login.cookie_id,
            login.auth_method,
            login.email,
            login.other_email,
            login.locale,
            login.time_zone,
            login.kind,
            login.history,
        )
        return login

    def check(self, *logins: Login) -> list[DeviceCheck]:
        """Check devices in a transaction of its own."""
        with self.begin() as tx:
            outcomes = check_devices(logins, tx, self.networks)
        return [DeviceCheck.from_message(o.result) for o in outcomes if isinstance(o, Done)]

    def on_second_device(self, **facts: Any) -> DeviceCheck:
        """A login on a new device of a user who has one already."""
        self.check(self.report(user_agent=SAFARI))
        return self.check(self.report(**facts))[0]

    def saved(self, **facts: Any) -> Login:
        """A login whose device is checked and that is stored."""
        login = self.report(**facts)
        checks = self.check(login)
        with self.begin() as tx:
            save_events(checks, tx, self.networks)
        return login

    def give_webhook(self, url: str, secret: str = "secret") -> None:
        self.rows("UPDATE tenant SET webhook_url = %s, webhook_secret = %s", url, secret)


@pytest.fixture
def world(postgres: PrivatePostgres) -> Iterator[World]:
    with postgres.database() as url:
        made = World(url)
        made.rows("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        yield made
