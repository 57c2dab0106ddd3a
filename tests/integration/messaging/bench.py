"""A pool's worker with the tasks of this folder, and a programmer's script that sends to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from celery.canvas import Signature
from kombu import Connection

from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from services.ledger import store
from services.ledger.message import Message
from services.ledger.planning import plan
from tests.integration.messaging.worker_of_messages import LEAVES, register
from tests.integration.runner import conftest as runner
from tests.integration.runner import worker_of_tests
from tests.support.fleet import Fleet, wait_until
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

MODULE = "tests.integration.messaging.worker_of_messages"
SECONDS = runner.SECONDS
VHOST = runner.VHOST


class Bench(runner.Bench):
    """A worker that starts again when it dies; `script` sends as the pool's own broker user.

    The operator (`app`) also revokes.
    """

    def __init__(
        self, node: PrivateRabbitMQ, fleet: Fleet, database_url: str, directory: Path, pool: str
    ) -> None:
        super().__init__(node, fleet, database_url, directory, pool)
        self.directory = directory
        environment = fleet.environment(pool)
        wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
        self.script: DoorbellApp = make_app(settings.load(wanted), load())
        worker_of_tests.register(self.script, pool)
        for app in (self.app, self.script):
            register(app, pool)
        self.rows("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        self.rows("CREATE TABLE effect (item text)")

    def start(self, **environment: str) -> None:
        """Start the worker and wait until it consumes."""
        self.launch(**environment)
        self.wait_for_consumers(1)

    def launch(self, **environment: str) -> None:
        """Start the worker."""
        points = [
            f"before_body_publish@hand.{leaf}={self.directory / leaf}-killed" for leaf in LEAVES
        ]
        armed = {"DOORBELL_FAILPOINTS": ",".join(points), **environment}
        self.fleet.start(self.pool, MODULE, (self.pool,), self.pool, (), **armed)

    def close(self) -> None:
        super().close()
        self.script.ledger.publisher().close()
        self.script.ledger.close()
        self.script.close()

    def sign(self, task: str, *args: Any, **options: Any) -> Signature:
        """A signature by name that takes nothing of its predecessor."""
        signature: Signature = self.script.signature(task, args=args, immutable=True)
        return signature.set(**options)

    def on_error(self, tag: str) -> Signature:
        signature: Signature = self.script.signature("hand.on_error", args=(tag,))
        return signature

    def errors(self, tag: str) -> list[str]:
        """The step ids that an error callback with this tag was called with."""
        return [line.split()[2] for line in self.lines(f"error {tag} ")]

    def times(self, item: str) -> list[float]:
        """When an item's task was called."""
        return [float(line.rpartition(" ")[2]) for line in self.lines(f"ran {item} ")]

    def insert(self, canvas: Signature) -> UUID:
        """Accept a canvas as a workflow, as the gateway does, and publish its first messages."""
        workflow_id, messages = self.accept(canvas)
        self.script.ledger.publish(messages)
        return workflow_id

    def accept(self, canvas: Signature) -> tuple[UUID, Sequence[Message]]:
        """Write a canvas down as a workflow; returns its id and what is to be published."""
        workflow_id, planned = uuid4(), plan(self.script, canvas)
        with self.script.ledger.connection() as connection:
            connection.execute(
                "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'test')",
                [workflow_id],
            )
            store.insert_workflows(connection, [(workflow_id, planned)])
        return workflow_id, planned.messages

    def workflow_state(self, workflow_id: UUID) -> str:
        return str(self.rows("SELECT state FROM workflow WHERE id = %s", workflow_id)[0][0])

    def reason(self, step_id: str) -> str | None:
        """Why a step was given up; None when nobody knows the step or nothing is noted."""
        rows = self.rows("SELECT reason FROM step WHERE id = %s", step_id)
        return rows[0][0] if rows else None

    def flush(self) -> None:
        """Wait until what was sent before this has been consumed, and what that sent too."""
        for _ in range(2):
            item = f"flush-{uuid4().hex[:8]}"
            (step_id,) = self.send("hand.say", item)
            assert self.ended([step_id]) == ["done"]

    def publish(
        self,
        body: bytes | str,
        headers: Mapping[str, Any] | None,
        message_id: str = "",
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
    ) -> None:
        """A message as a foreign program publishes it, past every check of ours."""
        with self.app.connection_for_write() as connection:
            channel: Any = connection.channel()
            message = channel.prepare_message(
                body,
                content_type=content_type,
                content_encoding=content_encoding,
                headers=dict(headers) if headers is not None else None,
                properties={"delivery_mode": 2, "message_id": message_id},
            )
            channel.basic_publish(message, "doorbell", self.pool)

    def wait_dead_letter(self, step_id: str) -> Any:
        """The dead letter of a step, left where it is; waits for it."""

        def found() -> Any:
            letters = self.letters()
            return next((m for m in letters if (m.headers or {}).get("id") == step_id), None)

        return wait_until(found, SECONDS, f"no dead letter of {step_id}")

    def letters(self) -> list[Any]:
        """The pool's dead letters, left where they are."""
        found: list[Any] = []
        address = self.node.broker_url(ADMINISTRATOR, self.node.password, VHOST)
        with Connection(address) as connection:
            channel: Any = connection.default_channel
            while (message := channel.basic_get(f"{self.pool}.dead")) is not None:
                found.append(message)
        return found

    def wait_ended(self, step_id: str) -> str:
        """A step's state once it has ended."""
        return self.ended([step_id])[0]
