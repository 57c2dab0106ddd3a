"""A cluster whose neighbours quote what they are sent, and everything that could have kept it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from celery import Celery
from kombu import Connection

from routing.load import load
from routing.topology import dead_queue_name
from services.cli.tenants import create_key, create_tenant
from tests.integration.adapters.mail_server import MailServer, mail_server
from tests.integration.adapters.servers import HttpServer, Received, http_server
from tests.support.cluster import IPHONE, Cluster
from tests.support.fleet import Fleet, wait_until
from tests.support.ports import free_port
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

KEY = "zebra-key-of-the-shop-0001"
SECRET = "zebra-webhook-secret"
OUTLIER_KEY = "zebra-key-of-the-outlier-api"
PERSON = {
    "user_id": "zebra-user",
    "email": "zebra.person@example.org",
    "other_email": "zebra.person@recovery.example.net",
    "ip": "203.0.113.77",
    "user_agent": "ZebraPhone 7 of somebody",
    "device_cookie": "zebra-device-cookie",
}
PERSONAL = ("zebra", "203.0.113.77", "ZebraPhone")
"""Whatever of these is found, in any case, in a place that is not made for it, has leaked."""

_LEDGER = ("step", "join_point", "join_part", "saved_group", "receipt", "failed_step", "breaker")
_TAP = "tap"
_SECONDS = 60.0


@dataclass
class Watched:
    """The cluster with its neighbours, and what was heard meanwhile."""

    cluster: Cluster
    mails: MailServer
    webhook: HttpServer
    outlier_api: HttpServer
    door: httpx.Client
    answers: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def post(self, **changes: object) -> httpx.Response:
        """Report a login of the person, with changes."""
        body = PERSON | {
            "event_id": str(uuid4()),
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        answer = self.door.post("/v1/logins", json=body | changes)
        self.answers.append(f"{answer.status_code} {answer.text}")
        return answer

    def ended(self, answer: httpx.Response) -> str:
        """The state in which an accepted login's workflow ends."""
        assert answer.status_code == 202, answer.text
        workflow_id = answer.json()["workflow_id"]

        def state() -> str | None:
            rows = self.cluster.rows("SELECT state FROM workflow WHERE id = %s", workflow_id)
            return str(rows[0][0]) if rows[0][0] != "accepted" else None

        return wait_until(state, _SECONDS, "the workflow's end") or ""

    def messages(self) -> list[str]:
        """Every message that was published, and every dead letter, whole."""
        found: list[str] = []
        node = self.cluster.node
        url = node.broker_url(ADMINISTRATOR, node.password, load().vhost)
        with Connection(url) as connection:
            channel: Any = connection.default_channel
            for queue in (_TAP, *map(dead_queue_name, load().queues)):
                while message := channel.basic_get(queue):
                    found.append(repr((queue, message.headers, message.properties, message.body)))
        return found

    def kept(self) -> list[str]:
        """Every row of the ledger, and what notices say of their sending."""
        rows = [
            f"{table} {row[0]}"
            for table in _LEDGER
            for row in self.cluster.rows(f"SELECT row_to_json(x)::text FROM {table} AS x")
        ]
        notices = self.cluster.rows("SELECT receipt, error FROM notice")
        return [*rows, *(f"notice {row}" for row in notices)]

    def settings_seen_from_afar(self) -> str:
        """What a monitor is told when it asks the workers for their settings."""
        with _observer(self.cluster) as app:
            return json.dumps(
                app.control.inspect(timeout=20, limit=len(load().pools)).conf(), default=repr
            )


@contextmanager
def watched_cluster(node: PrivateRabbitMQ, database_url: str, directory: Path) -> Iterator[Watched]:
    """Gateway and pools; mail server, webhook and outlier API fail, and quote what they got."""
    _prepare(database_url)
    with ExitStack() as stack:
        mails = stack.enter_context(mail_server())
        mails.answers["RCPT"] = f"550 5.1.1 <{PERSON['email']}>: no such user"
        webhook = stack.enter_context(http_server(_quote_once_then(500, 400)))
        outlier_api = stack.enter_context(http_server(_refuse_quoting))
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "UPDATE tenant SET webhook_url = %s, webhook_secret = %s",
                (f"{webhook.url}/hook?user=zebra", SECRET),
            )
        smtp_port = int(mails.url.rpartition(":")[2])
        fleet = stack.enter_context(
            Fleet(node, database_url, directory, smtp_port, outlier_api.url)
        )
        port = free_port()
        fleet.start("gateway", "services.gateway", DOORBELL_LISTEN_PORT=str(port))
        for pool in load().pools:
            fleet.start(
                pool,
                DOORBELL_ALLOWED_PRIVATE_HOSTS="127.0.0.1",
                DOORBELL_OUTLIER_API_KEY=OUTLIER_KEY,
            )
        cluster = Cluster(node, database_url, directory, fleet, port)
        stack.callback(cluster.close)
        door = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=30,
                trust_env=False,
            )
        )
        watched = Watched(cluster, mails, webhook, outlier_api, door)
        stack.enter_context(_tapped(node))
        wait_until(cluster.is_up, _SECONDS, "the gateway")
        for pool in load().pools:
            wait_until(partial(cluster.consumers, pool), _SECONDS, pool)
        stack.enter_context(_heard(watched))
        yield watched


def live_through_failures(watched: Watched) -> None:
    """Logins whose mail is refused, webhook fails, score is refused, rows are refused, and rubbish."""
    assert watched.ended(watched.post(user_agent=IPHONE, device_cookie="zebra-first")) == "failed"
    assert watched.ended(watched.post()) == "failed"
    wait_until(lambda: len(watched.webhook.received) >= 2, _SECONDS, "the webhook's second call")
    # save_event meets a PostgreSQL error that quotes the row, and is dead.
    assert watched.ended(watched.post(auth_method="no row")) == "dead"
    # So does the gateway, which can only say that it was its own fault.
    assert watched.post(auth_method="no report").status_code == 500
    assert watched.post(ip="203.0.113.77.1", email="zebra").status_code == 422
    assert watched.door.get("/v1/users/zebra%00/devices").status_code == 422
    answer = watched.door.get(
        "/v1/workflows?user_id=zebra", headers={"Authorization": "Bearer zebra-wrong-key-0001"}
    )
    watched.answers.append(answer.text)
    assert answer.status_code == 401
    wait_until(lambda: _is_quiet(watched.cluster), _SECONDS, "quiet")


def _is_quiet(cluster: Cluster) -> bool:
    rows = cluster.rows("SELECT count(*) FROM step WHERE state IN ('ready', 'retrying')")
    return int(rows[0][0]) == 0


def _prepare(database_url: str) -> None:
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as connection:
        create_tenant(connection, "shop", "The Shop")
        create_key(connection, "shop", KEY)
        connection.execute("ALTER TABLE login ADD CHECK (auth_method <> 'no row')")
        connection.execute("ALTER TABLE reported_login ADD CHECK (auth_method <> 'no report')")


def _refuse_quoting(got: Received) -> tuple[int, dict[str, str], bytes]:
    return 422, {}, got.body


def _quote_once_then(first: int, later: int) -> Any:
    seen: set[str] = set()

    def reply(got: Received) -> tuple[int, dict[str, str], bytes]:
        is_first = got.headers["webhook-id"] not in seen
        seen.add(got.headers["webhook-id"])
        return first if is_first else later, {"X-Quoted": str(PERSON["email"])}, got.body

    return reply


@contextmanager
def _tapped(node: PrivateRabbitMQ) -> Iterator[None]:
    """A queue that gets a copy of each message for a pool, delayed or not."""
    topology = load()
    url = node.broker_url(ADMINISTRATOR, node.password, topology.vhost)
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        channel.queue_declare(_TAP, durable=False, auto_delete=False)
        for exchange in (topology.work_exchange, topology.delays.entrance):
            channel.queue_bind(_TAP, exchange, "#")
    try:
        yield
    finally:
        with Connection(url) as connection:
            closing: Any = connection.default_channel
            closing.queue_delete(_TAP)


@contextmanager
def _observer(cluster: Cluster) -> Iterator[Celery]:
    with Celery(broker=cluster.fleet.broker_url("flower"), set_as_current=False) as app:
        yield app


@contextmanager
def _heard(watched: Watched) -> Iterator[None]:
    """Listen to what Flower listens to, under its own account."""
    with _observer(watched.cluster) as app, app.connection_for_read() as connection:
        receiver: Any = app.events.Receiver(connection, handlers={"*": watched.events.append})
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, wakeup=False))
        thread.start()
        try:
            wait_until(lambda: watched.events, _SECONDS, "the first event")
            yield
        finally:
            receiver.should_stop = True
            thread.join(_SECONDS)
