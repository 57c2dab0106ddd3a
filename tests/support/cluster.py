"""Everything one login needs, as real processes: gateway, pools, outlier API, mail catcher."""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from tests.support.fleet import ROOT, Fleet, topology_of, wait_until
from tests.support.ports import free_port
from tests.support.postgres import Session
from tests.support.rabbitmq import PrivateRabbitMQ

KEY = "key-of-the-test-tenant"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)


class Cluster:
    """A running system and what can be seen of it from outside."""

    def __init__(
        self, node: PrivateRabbitMQ, database_url: str, directory: Path, fleet: Fleet, port: int
    ) -> None:
        self.node = node
        self.database_url = database_url
        self.fleet = fleet
        self._session = Session(database_url)
        self._maildir = directory / "mail"
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=30,
            trust_env=False,
            # The gateway closes what has been idle for five seconds, maybe while the next request is on its way.
            limits=httpx.Limits(keepalive_expiry=1.0),
        )

    def close(self) -> None:
        self._client.close()
        self._session.close()

    def post(self, user_id: str, user_agent: str = WINDOWS, **more: object) -> str:
        """Report a login at the door; returns its workflow's id."""
        body = {
            "event_id": str(uuid4()),
            "user_id": user_id,
            "occurred_at": datetime.now(UTC).isoformat(),
            "ip": "203.0.113.7",
            "user_agent": user_agent,
            "email": f"{user_id}@example.org",
        }
        answer = self._client.post("/v1/logins", json=body | more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["workflow_id"])

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask the gateway as the application does; body: JSON, if there is one."""
        return self._client.request(method, path, json=body)

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        answer = self._client.get(f"/v1/workflows/{workflow_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def is_up(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ended(self, *workflow_ids: str, seconds: float = 60) -> list[str]:
        """The states in which these workflows have ended; waits for it."""

        def states() -> list[str] | None:
            found = [self.workflow(w)["state"] for w in workflow_ids]
            return found if set(found) <= {"done", "failed", "dead"} else None

        def report() -> str:
            return "\n".join(str(self.workflow(w)) for w in workflow_ids)

        try:
            ended = wait_until(states, seconds) or []
        except AssertionError as error:
            raise AssertionError(report()) from error
        if set(ended) != {"done"}:
            print(report())
        return ended

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._session.rows(statement, *values)

    def beats(self, *, leading: bool) -> int:
        """How many beats hold the lock that makes one lead, or wait for it; steps take advisory locks as well."""
        found = self.rows(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted = %s"
            " AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('doorbell.beat', 0)"
            " AND d.datname = current_database()",
            leading,
        )
        return int(found[0][0])

    def count(self, table: str, workflow_id: str) -> int:
        found = self.rows(f"SELECT count(*) FROM {table} WHERE workflow_id = %s", workflow_id)
        return int(found[0][0])

    def mails_to(self, user_id: str) -> list[Message]:
        """The mails that arrived for a user."""
        if not self._maildir.exists():
            return []
        return [
            mail
            for mail in mailbox.Maildir(self._maildir, create=False)
            if f"{user_id}@example.org" in str(mail["To"])
        ]

    def waiting_messages(self) -> dict[str, int]:
        """Queues that hold anything, ready or unacked, with how much; dead letters included."""
        found = {
            queue["name"]: int(queue.get("messages") or 0)
            for queue in self.node.manage("GET", "queues/doorbell")
        }
        return {name: count for name, count in found.items() if count}

    def consumers(self, queue: str) -> int:
        return self.node.peek(queue, "doorbell")[1]


@contextmanager
def running_cluster(
    node: PrivateRabbitMQ,
    database_url: str,
    directory: Path,
    outlier_api_url: str | None = None,
    with_beat: bool = True,
    code: Path = ROOT,
    **environment: str,
) -> Iterator[Cluster]:
    """All processes of the main workflow; `outlier_api_url` replaces the reference API.

    code: the checkout whose processes they are. environment: variables that every process has.
    """
    pools = topology_of(code).pools
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        connection.execute(
            "INSERT INTO api_key (key_sha256, tenant_id) VALUES (%s, 'shop')",
            (sha256(KEY.encode()).digest(),),
        )
    smtp, api, door = free_port(), free_port(), free_port()
    url = outlier_api_url or f"http://127.0.0.1:{api}"
    with Fleet(node, database_url, directory, smtp, url, code, **environment) as fleet:
        mails = ("--host", "127.0.0.1", "--port", str(smtp), "--maildir", str(directory / "mail"))
        fleet.start("mail", "deploy.local.mail_sink", mails, user="gateway")
        if outlier_api_url is None:
            scores = ("--port", str(api), "--database", str(directory / "scores"))
            fleet.start("outlier", "services.outlier", scores, user="gateway")
        fleet.start("gateway", "services.gateway", DOORBELL_LISTEN_PORT=str(door))
        if with_beat:
            fleet.start("beat", "services.schedule")
        for pool in pools:
            fleet.start(pool)
        cluster = Cluster(node, database_url, directory, fleet, door)
        try:
            wait_until(cluster.is_up, 60, "the gateway")
            for pool in pools:
                wait_until(partial(cluster.consumers, pool), 60, pool)
            yield cluster
        finally:
            cluster.close()
