"""A worker of each style whose steps do what they are told, on one broker and one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from celery.utils.nodenames import host_format
from kombu import Connection

from routing.commands import node_name
from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from tests.integration.runner.worker_of_tests import register
from tests.support.fleet import Fleet, wait_until, with_the_topology
from tests.support.postgres import PrivatePostgres, Session
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

MODULE = "tests.integration.runner.worker_of_tests"
VHOST = "doorbell"
SECONDS = 20


class Bench:
    """A worker, a client of it, and what it leaves behind."""

    def __init__(
        self, node: PrivateRabbitMQ, fleet: Fleet, database_url: str, directory: Path, pool: str
    ) -> None:
        self.node = node
        self.fleet = fleet
        self.pool = pool
        self.directory = directory
        self.database_url = database_url
        self._session = Session(database_url)
        # The operator may send to every queue, revoke and hear events.
        environment = fleet.environment("operator")
        wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
        self.app: DoorbellApp = make_app(settings.load(wanted), load())
        register(self.app, pool)

    def start(self, **environment: str) -> None:
        self.fleet.start(self.pool, MODULE, (self.pool,), **environment)
        self.wait_for_consumers(1)

    def wait_for_consumers(self, count: int) -> None:
        wait_until(lambda: self.node.peek(self.pool, VHOST)[1] == count, SECONDS, "consumers")

    def close(self) -> None:
        self._session.close()
        self.app.ledger.publisher().close()
        self.app.ledger.close()
        self.app.close()

    def send(self, task: str, *items: Any, **options: Any) -> list[str]:
        """Send one step for each item; returns their ids."""
        with self.app.producer_or_acquire() as producer:
            return [
                str(self.app.send_task(task, [item], producer=producer, **options).id)
                for item in items
            ]

    def ended(self, step_ids: Sequence[str], seconds: float = SECONDS) -> list[str]:
        """The states in which these steps end; waits for it."""

        def found() -> list[str] | None:
            states = dict(
                self.rows("SELECT id, state FROM step WHERE id = ANY(%s)", list(step_ids))
            )
            ordered = [str(states.get(step_id)) for step_id in step_ids]
            return ordered if set(ordered) <= {"done", "failed", "dead", "blocked"} else None

        try:
            return wait_until(found, seconds) or []
        except AssertionError as error:
            raise AssertionError(self.fleet.log(self.pool)[-1500:]) from error

    def open(self, gate: str) -> None:
        """Let the step with this item go on."""
        (self.directory / gate.replace(" ", "-")).touch()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._session.rows(statement, *values)

    def revoke(self, *step_ids: str) -> None:
        """Revoke steps and wait until this bench's worker has heard it: others may share the broker."""
        answers = self.app.control.broadcast(
            "revoke",
            arguments={"task_id": list(step_ids)},
            destination=[host_format(node_name(load(), self.pool))],
            reply=True,
            timeout=SECONDS,
            limit=1,
        )
        assert answers, "the worker did not answer"

    def lines(self, start: str = "") -> list[str]:
        """What the worker's steps have noted, by its beginning."""
        file = self.directory / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(start)]

    def ran(self, item: str) -> int:
        """How often an item's handler was called."""
        return self.lines(f"ran {item}").count(f"ran {item}")

    def effects(self, item: str) -> int:
        return int(self.rows("SELECT count(*) FROM effect WHERE item = %s", item)[0][0])

    def dead_letters(self) -> list[Any]:
        """Takes the pool's dead letters out of their queue."""
        return self.take(f"{self.pool}.dead")

    def dead_letter(self, step_id: str) -> Any:
        """The dead letter of a step; waits for it and leaves none behind."""
        found: dict[str, Any] = {}

        def arrived() -> Any:
            found.update({m.headers["id"]: m for m in self.dead_letters()})
            return found.get(step_id)

        return wait_until(arrived, SECONDS, f"no dead letter of {step_id}")

    def take(self, queue: str) -> list[Any]:
        address = self.node.broker_url(ADMINISTRATOR, self.node.password, VHOST)
        messages: list[Any] = []
        with Connection(address) as connection:
            channel: Any = connection.default_channel
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                messages.append(message)
        return messages

    def unacked(self) -> int:
        """Messages in the worker's hands, as the broker's management counts them now and then."""
        queues = self.node.manage("GET", f"queues/{VHOST}")
        return sum(int(q.get("messages_unacknowledged") or 0) for q in queues)

    def is_idle(self) -> bool:
        """Nothing waits and nothing is unacked, as a passive declare and the ledger know it."""
        return self.node.peek(self.pool, VHOST)[0] == 0


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


def _bench(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, directory: Path, pool: str
) -> Iterator[Bench]:
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        bench = Bench(node, fleet, url, directory, pool)
        bench.rows("CREATE TABLE effect (item text)")
        bench.start()
        yield bench
        bench.close()


@pytest.fixture(scope="package")
def batch(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    yield from _bench(node, postgres, tmp_path_factory.mktemp("batch"), "db_writes")


@pytest.fixture(scope="package")
def io(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    yield from _bench(node, postgres, tmp_path_factory.mktemp("io"), "notifications")
