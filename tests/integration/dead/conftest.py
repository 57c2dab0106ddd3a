"""One worker whose tasks break when told to, and the command of an operator beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import amqp
import pytest
from celery import Celery
from kombu import Connection

from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from services.cli.main import run
from services.ledger import store
from services.ledger.planning import plan
from tests.integration.dead.worker_of_dead_tests import register
from tests.support.fleet import Fleet, wait_until, with_the_topology
from tests.support.postgres import PrivatePostgres, Session
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

MODULE = "tests.integration.dead.worker_of_dead_tests"
VHOST = "doorbell"
POOL = "db_writes"
SECONDS = 30

Operate = Callable[..., tuple[int, Any]]

_ASKING = {("dead", "replay"), ("dead", "drop"), ("workflow", "resume")}
"""Commands that ask, and of whom nobody can be asked here."""


class Bench:
    """A worker, a client of it, and what it leaves behind. Each test has tasks' names of its own."""

    def __init__(
        self, node: PrivateRabbitMQ, fleet: Fleet, database_url: str, directory: Path
    ) -> None:
        self.node = node
        self.fleet = fleet
        self.database_url = database_url
        self._session = Session(database_url)
        self.directory = directory
        environment = fleet.environment("operator")
        wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
        self.app: DoorbellApp = make_app(settings.load(wanted), load())
        self.tasks = register(self.app, POOL, str(directory))
        self.rows("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")

    def start(self) -> None:
        self.fleet.start(POOL, MODULE, (POOL,))
        wait_until(lambda: self.node.peek(POOL, VHOST)[1] == 1, SECONDS, "the worker")

    def stop(self) -> None:
        self.fleet.stop(POOL)
        wait_until(lambda: self.node.peek(POOL, VHOST)[1] == 0, SECONDS, "the worker's end")

    def close(self) -> None:
        self._session.close()
        self.app.ledger.publisher().close()
        self.app.ledger.close()
        self.app.close()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._session.rows(statement, *values)

    def value(self, statement: str, *values: object) -> Any:
        return self.rows(statement, *values)[0][0]

    def seen(self, line: str) -> int:
        """How often the tasks have noted exactly this."""
        file = self.directory / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        return lines.count(line)

    def runs(self, *names: str) -> dict[str, int]:
        """How often the steps of these names were committed; 0 for those that are not done.

        Not how often they were called: a list that loses a race is called again.
        """
        rows = self.rows(
            "SELECT CASE json_typeof(result::json) WHEN 'array' THEN result::json ->> 0"
            " ELSE result::json #>> '{}' END, attempts FROM step"
            " WHERE state = 'done' AND task IN ('mend.work', 'mend.collect')"
        )
        found = {str(name): int(attempts) for name, attempts in rows}
        return {name: found.get(name, 0) for name in names}

    def break_(self, name: str, how: str = "broken") -> None:
        (self.directory / f"{how}-{name}").touch()

    def mend(self, name: str, how: str = "broken") -> None:
        (self.directory / f"{how}-{name}").unlink()

    def accept(self, canvas: Any, user: str = "ada") -> UUID:
        """Plan a canvas as a workflow, as the gateway does, and publish its first messages."""
        workflow_id = uuid4()
        self.rows(
            "INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (%s, 'shop', 'mend', %s)",
            workflow_id,
            user,
        )
        planned = plan(self.app, canvas)
        with self.app.ledger.connection() as connection:
            store.insert_workflows(connection, [(workflow_id, planned)])
        self.app.ledger.publish(planned.messages)
        return workflow_id

    def workflow_state(self, workflow_id: UUID) -> tuple[str, int]:
        [found] = self.rows("SELECT state, generation FROM workflow WHERE id = %s", workflow_id)
        return str(found[0]), int(found[1])

    def ended(self, workflow_id: UUID, state: str) -> None:
        """Wait until a workflow has ended like this."""
        wait_until(
            lambda: self.workflow_state(workflow_id)[0] == state,
            SECONDS,
            f"{self.workflow_state(workflow_id)}, not {state}: {self.steps(workflow_id)}",
        )

    def steps(self, workflow_id: UUID) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT task, state, status, reason FROM step WHERE workflow_id = %s ORDER BY position",
            workflow_id,
        )

    def state(self, step_id: str) -> str | None:
        found = self.rows("SELECT state FROM step WHERE id = %s", step_id)
        return str(found[0][0]) if found else None

    def wait_for(self, step_id: str, state: str) -> None:
        wait_until(
            lambda: self.state(step_id) == state, SECONDS, f"{step_id} {self.state(step_id)}"
        )

    def letters(self, queue: str = POOL) -> int:
        return self.node.peek(f"{queue}.dead", VHOST)[0]

    def wait_for_letters(self, count: int) -> None:
        """Until so many wait: what a command only looked at is given back behind its end."""
        wait_until(lambda: self.letters() == count, SECONDS, f"{self.letters()} not {count}")

    def is_quiet(self) -> bool:
        """Nothing waits, and no step that could run has not run yet."""
        open_steps = self.value("SELECT count(*) FROM step WHERE state IN ('ready', 'retrying')")
        return open_steps == 0 and self.node.peek(POOL, VHOST)[0] == 0

    def dead_id(self, name: str) -> str:
        """The id of the given-up step of that name; waits for it and for its dead letter."""

        def found() -> str | None:
            rows = self.rows(
                "SELECT id FROM step WHERE state IN ('failed', 'dead') AND result LIKE %s",
                f"%{name} is %",
            )
            return str(rows[0][0]) if rows else None

        return str(wait_until(found, SECONDS, f"{name} is not given up"))

    def put_letter(
        self,
        body: bytes,
        headers: dict[str, Any] | None = None,
        queue: str = POOL,
        content_type: str = "application/json",
    ) -> None:
        """Give a message up as a worker does: rejected from its queue, while no worker is there."""
        message = amqp.Message(
            body,
            content_type=content_type,
            content_encoding="utf-8",
            application_headers=headers or {},
        )
        self.give_up(message, queue)

    def take_letters(self) -> None:
        """Take out every dead letter, those too that are still under way: up to one that begins its way now."""
        last = uuid4().hex.encode()
        address = self.node.broker_url(ADMINISTRATOR, self.node.password, VHOST)
        with Connection(address) as connection:
            channel: Any = connection.default_channel
            channel.basic_publish(amqp.Message(last), exchange="doorbell", routing_key=POOL)

            def is_last() -> bool:
                got = channel.basic_get(f"{POOL}.dead", no_ack=True)
                return got is not None and got.body == last

            wait_until(is_last, SECONDS, "the last dead letter")

    def give_up(self, message: amqp.Message, queue: str = POOL) -> None:
        """The same with any message."""
        address = self.node.broker_url(ADMINISTRATOR, self.node.password, VHOST)
        with Connection(address, transport_options={"confirm_publish": True}) as connection:
            channel: Any = connection.default_channel
            before = self.letters(queue)
            channel.basic_publish(message, exchange="doorbell", routing_key=queue)
            got = wait_until(lambda: channel.basic_get(queue), SECONDS)
            channel.basic_reject(got.delivery_tag, requeue=False)
        wait_until(lambda: self.letters(queue) == before + 1, SECONDS, "the dead letter")


@pytest.fixture(scope="package")
def node(session_node: PrivateRabbitMQ) -> PrivateRabbitMQ:
    return with_the_topology(session_node)


@pytest.fixture(scope="package")
def session_bench(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("dead")
    with postgres.database() as url, Fleet(node, url, directory) as fleet:
        bench = Bench(node, fleet, url, directory)
        yield bench
        bench.close()


@pytest.fixture
def idle(session_bench: Bench) -> Iterator[Bench]:
    """The bench without a worker, with empty queues and an empty ledger, before and after."""
    _empty(session_bench)
    yield session_bench
    _empty(session_bench)


def _empty(bench: Bench) -> None:
    if POOL in bench.fleet.processes:
        bench.stop()
    for queue in load().queues:
        for name in (queue, f"{queue}.dead"):
            bench.node.manage("DELETE", f"queues/{VHOST}/{name}/contents")
    bench.rows("TRUNCATE workflow, step, join_point, dead_letter_action CASCADE")


@pytest.fixture
def bench(session_bench: Bench) -> Bench:
    """The bench with its worker, and nothing given up by an earlier test."""
    if POOL not in session_bench.fleet.processes:
        session_bench.start()
    wait_until(session_bench.is_quiet, SECONDS, "an earlier test's steps")
    session_bench.take_letters()
    session_bench.rows("DELETE FROM step WHERE state IN ('failed', 'dead')")
    return session_bench


@pytest.fixture
def operate(
    session_bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Operate:
    """Run `doorbell ... --json` as the operator; gives its exit code and what it printed, or complained."""
    environment = session_bench.fleet.environment("operator")
    for name in ("DOORBELL_BROKER_URL", "DOORBELL_DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])

    def command(*arguments: object) -> tuple[int, Any]:
        capfd.readouterr()
        sure = ["--yes"] if arguments[:2] in _ASKING else []
        code = run([*map(str, arguments), *sure, "--json"])
        output = capfd.readouterr()
        told = re.sub(r"\s+", " ", output.err)
        return code, json.loads(output.out) if output.out else told

    return command


def signature(app: Celery, task: str, **arguments: Any) -> Any:
    """A signature by name, as a producer without task code writes it."""
    return app.signature(f"mend.{task}", kwargs=arguments)
