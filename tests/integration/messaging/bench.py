"""A pool's worker with the tasks of this folder, and a programmer's script that sends to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from celery.canvas import Signature

from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from services.ledger import store
from services.ledger.planning import plan
from tests.integration.messaging.worker_of_messages import LEAVES, register
from tests.integration.runner import conftest as runner
from tests.integration.runner import worker_of_tests
from tests.support.fleet import Fleet, wait_until
from tests.support.rabbitmq import PrivateRabbitMQ

MODULE = "tests.integration.messaging.worker_of_messages"
SECONDS = runner.SECONDS
VHOST = runner.VHOST

ENDED = {"done", "failed", "dead", "blocked"}


class Bench(runner.Bench):
    """A worker that starts again when it dies; `script` sends as the pool's own broker user.

    The operator's app (`app`) may not delay; a pool's may.
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

    def start(self) -> None:
        points = [
            f"before_body_publish@hand.{leaf}={self.directory / leaf}-killed" for leaf in LEAVES
        ]
        self.fleet.start(self.pool, MODULE, (self.pool,), DOORBELL_FAILPOINTS=",".join(points))
        self.wait_for_consumers(1)

    def close(self) -> None:
        for app in (self.app, self.script):
            app.ledger.publisher().close()
            app.ledger.close()
            app.close()

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
        workflow_id, planned = uuid4(), plan(self.script, canvas)
        with self.script.ledger.connection() as connection:
            connection.execute(
                "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'test')",
                [workflow_id],
            )
            store.insert_workflows(connection, [(workflow_id, planned)])
        self.script.ledger.publish(planned.messages)
        return workflow_id

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

    def revoke(self, *step_ids: str) -> None:
        """Revoke steps and wait until the worker has heard it."""
        answers: Any = self.app.control.broadcast(
            "revoke", arguments={"task_id": list(step_ids)}, reply=True, timeout=5, limit=1
        )
        assert answers, "the worker did not answer"

    def publish(self, body: bytes | str, headers: dict[str, Any] | None, **properties: Any) -> None:
        """A message as a foreign program publishes it, past every check of ours."""
        with self.app.connection_for_write() as connection:
            channel: Any = connection.channel()
            message = channel.prepare_message(body, headers=headers, properties=properties)
            channel.basic_publish(message, "doorbell", self.pool)

    def all_dead(self) -> dict[str, Any]:
        """The pool's dead letters by their step's id, left where they are."""
        found: dict[str, Any] = {}
        address = self.node.broker_url(
            runner.ADMINISTRATOR, self.node.password, VHOST
        )
        with runner.Connection(address) as connection:
            channel: Any = connection.default_channel
            while (message := channel.basic_get(f"{self.pool}.dead")) is not None:
                found[str((message.headers or {}).get("id"))] = message
        return found

    def is_dead_letter(self, step_id: str) -> bool:
        return step_id in self.all_dead()

    def wait_ended(self, step_id: str) -> str:
        """A step's state once it has ended."""
        return self.ended([step_id])[0]


def wait_for_note(bench: Bench, start: str, seconds: float = SECONDS) -> list[str]:
    """What the worker's tasks noted with that beginning, once there is anything."""
    return wait_until(lambda: bench.lines(start), seconds, f"no note {start!r}")
