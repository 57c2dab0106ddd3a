"""The reconciler publishes again what the broker lost, and nothing that only waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu import Connection
from psycopg import OperationalError

from services.celery_app import DoorbellApp
from services.ledger import reconciler as module
from services.ledger import store
from services.ledger.message import Message
from services.ledger.planning import plan
from services.ledger.reconciler import MOST_REPUBLISHED, Reconciler, Repaired
from services.ledger.relay import relay_once
from services.ledger.unit import Unit
from tests.integration.ledger.conftest import VHOST, Database
from tests.integration.ledger.steps import TASK, commit, message, result_of
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

NOTHING = Repaired()
LONG_AGO = "1 hour"


class Broker:
    """The queue as workers and accidents treat it."""

    def __init__(self, node: PrivateRabbitMQ, app: DoorbellApp, database: Database, queue: str):
        self._node, self._app, self._database, self.name = node, app, database, queue

    def send(self, messages: Sequence[Message], workflow_id: UUID | None = None) -> None:
        """Commit and publish with confirms; it was an hour ago."""
        with self._database.connect() as connection:
            store.make_ready(connection, [(m, None, workflow_id) for m in messages])
            connection.commit()
        self._app.ledger.publish(messages)
        self.age()

    def age(self) -> None:
        """Let an hour pass for every step."""
        self._database.rows(
            "UPDATE step SET ready_at = ready_at - %s::interval,"
            " published_at = published_at - %s::interval,"
            " due_at = due_at - %s::interval",
            *[LONG_AGO] * 3,
        )

    def lose(self) -> None:
        self._node.manage("DELETE", f"queues/{VHOST}/{self.name}/contents")

    def waiting(self) -> int:
        return self._node.peek(self.name, VHOST)[0]

    def work(self, most: int = 1_000_000) -> list[str]:
        """Take messages and commit their steps as done, as a worker does; returns the step ids."""
        taken: list[str] = []
        address = self._node.broker_url(ADMINISTRATOR, self._node.password, VHOST)
        with Connection(address) as connection, self._database.connect() as database:
            channel: Any = connection.default_channel
            while len(taken) < most and (got := channel.basic_get(self.name)) is not None:
                step_id = got.headers["id"]
                commit(database, self._app, [Unit(step_id, results={step_id: result_of(step_id)})])
                channel.basic_ack(got.delivery_tag)
                taken.append(step_id)
        return taken


@pytest.fixture
def broker(node: PrivateRabbitMQ, app: DoorbellApp, database: Database, queue: str) -> Broker:
    return Broker(node, app, database, queue)


def reconciler_of(app: DoorbellApp, queue: str, deadline: float = 0.0) -> Reconciler:
    return Reconciler(app, app.ledger, {queue: deadline})


def sweep(reconciler: Reconciler, limit: int = 500) -> Repaired:
    """A sweep that may always probe."""
    return reconciler.sweep(0.0, 0.0, limit)


def pass_a_probe(reconciler: Reconciler, broker: Broker) -> list[str]:
    """A sweep sends a probe and the workers do what is in the queue; returns what they did."""
    assert reconciler.sweep().probes == 1
    return broker.work()


def state_of(database: Database, step_id: str) -> Any:
    return database.rows("SELECT state, reason FROM step WHERE id = %s", step_id)[0]


def test_a_message_that_vanished_is_published_again_once_a_probe_has_passed(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """In an otherwise idle queue; not before the probe is done, and under the same id."""
    lost = message()
    broker.send([lost])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)

    assert reconciler.sweep() == Repaired(probes=1)
    assert reconciler.sweep() == NOTHING
    assert len(broker.work()) == 1
    assert reconciler.sweep() == Repaired(republished=1)
    assert relay_once(app.ledger) == 1
    assert broker.work() == [lost.step_id]
    assert state_of(database, lost.step_id) == ("done", None)
    assert sweep(reconciler) == NOTHING


def test_a_sweep_repeats_nothing(database: Database, app: DoorbellApp, broker: Broker) -> None:
    """What is published again waits for the relay and then in its queue; it is not lost once more."""
    broker.send([message(), message()])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)

    assert sweep(reconciler).republished == 2
    assert sweep(reconciler).republished == 0
    assert relay_once(app.ledger) == 2
    assert sweep(reconciler).republished == 0
    assert relay_once(app.ledger) == 0


def test_a_deadline_is_waited_for(app: DoorbellApp, broker: Broker) -> None:
    """Behind a probe a step may still be in the hands of a worker, for as long as a step may take."""
    broker.send([message()])
    broker.lose()
    pass_a_probe(reconciler_of(app, broker.name), broker)

    assert reconciler_of(app, broker.name, 60.0).sweep() == NOTHING
    assert reconciler_of(app, broker.name).sweep() == Repaired(republished=1)


def test_a_backlog_is_no_loss(database: Database, app: DoorbellApp, broker: Broker) -> None:
    """A thousand that have waited for an hour without a consumer: a probe waits with them."""
    broker.send([message() for _ in range(1_000)])
    reconciler = reconciler_of(app, broker.name)

    assert [reconciler.sweep() for _ in range(3)] == [Repaired(probes=1), NOTHING, NOTHING]
    assert len(broker.work(most=600)) == 600
    assert reconciler.sweep() == NOTHING
    assert len(broker.work()) == 401
    assert sweep(reconciler) == NOTHING
    assert broker.waiting() == 0


def test_a_message_that_vanished_from_a_backlog(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """Only what was really lost is published again, once the backlog is worked off."""
    lost = [message() for _ in range(3)]
    broker.send(lost)
    broker.lose()
    broker.send([message() for _ in range(200)])
    reconciler = reconciler_of(app, broker.name)

    assert reconciler.sweep() == Repaired(probes=1)
    broker.work()
    assert reconciler.sweep().republished == 3
    relay_once(app.ledger)
    assert sorted(broker.work()) == sorted(m.step_id for m in lost)


def test_a_sweep_is_capped(app: DoorbellApp, broker: Broker) -> None:
    """The oldest first, as many as asked for."""
    broker.send([message() for _ in range(25)])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)

    assert [reconciler.sweep(limit=10).republished for _ in range(4)] == [10, 10, 5, 0]


def test_two_at_once_publish_nothing_twice(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """Two threads released together, again and again, each with its own reconciler."""
    broker.send([message() for _ in range(400)])
    broker.lose()
    pass_a_probe(reconciler_of(app, broker.name), broker)
    barrier = threading.Barrier(2)

    def run() -> int:
        reconciler, found = reconciler_of(app, broker.name), 0
        for _ in range(20):
            barrier.wait(30)
            found += reconciler.sweep(limit=50).republished
        app.ledger.publisher().close()
        return found

    with ThreadPoolExecutor(2) as threads:
        found = [thread.result() for thread in [threads.submit(run), threads.submit(run)]]
    assert sum(found) == 400
    assert database.value("SELECT max(republished) FROM step") == 1
    assert relay_once(app.ledger) == 400
    assert len(set(broker.work())) == 400


def test_only_one_sweeps(database: Database, app: DoorbellApp, broker: Broker) -> None:
    """While another holds the lock, a sweep does nothing and waits for nobody."""
    broker.send([message()])
    broker.lose()
    with database.connect() as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('doorbell.reconciler'))")
        assert sweep(reconciler_of(app, broker.name)) == NOTHING
    assert sweep(reconciler_of(app, broker.name)) == Repaired(probes=1)


def test_a_step_in_a_workers_hands_is_left_alone(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """Its row is locked: it has been delivered, however long it takes."""
    slow = message()
    broker.send([slow])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)
    with database.connect() as worker:
        worker.execute("SELECT 1 FROM step WHERE id = %s FOR NO KEY UPDATE", [slow.step_id])
        assert reconciler.sweep() == NOTHING
        worker.rollback()  # a connection that is closed lets go when PostgreSQL notices it
    assert reconciler.sweep().republished == 1


def test_what_is_not_due_is_not_lost(database: Database, app: DoorbellApp, broker: Broker) -> None:
    """A retry that waits in the delay queues is older than the probe, but not due."""
    delayed, lost = message(retries=1), message()
    broker.send([delayed, lost])
    broker.lose()
    database.rows(
        "UPDATE step SET due_at = now() + interval '1 hour' WHERE id = %s", delayed.step_id
    )
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)

    assert reconciler.sweep() == Repaired(republished=1)
    assert database.value("SELECT republished FROM step WHERE id = %s", delayed.step_id) == 0


def test_what_has_no_confirm_is_the_relays(app: DoorbellApp, database: Database) -> None:
    """Nothing is probed for a step that was never published."""
    with database.connect() as connection:
        store.make_ready(connection, [(message(), None, None)])
        connection.commit()

    assert sweep(reconciler_of(app, "db_writes")) == NOTHING


def test_a_lost_probe_is_followed_by_another(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """What eats the messages may eat the probe; a minute later the next one goes out."""
    broker.send([message()])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    assert reconciler.sweep() == Repaired(probes=1)
    broker.lose()
    database.rows(
        "UPDATE step SET ready_at = ready_at - interval '61 seconds',"
        " published_at = published_at - interval '61 seconds' WHERE task = 'maintenance.probe'"
    )

    assert reconciler.sweep() == Repaired(probes=1)
    broker.work()
    assert reconciler.sweep() == Repaired(republished=1)


def _accepted(database: Database, app: DoorbellApp) -> tuple[UUID, list[str]]:
    """A published workflow of two steps with an error callback each; returns its steps."""
    workflow_id = database.add_workflow()
    ids = [str(uuid4()), str(uuid4())]
    first, second = (app.signature(TASK, args=("w",), immutable=True).set(task_id=i) for i in ids)
    canvas = first | second
    canvas.link_error(app.signature("db_writes.record_unscored", args=("w",)))
    planned = plan(app, canvas)
    with database.connect() as connection:
        store.insert_workflows(connection, [(workflow_id, planned)])
        connection.commit()
    app.ledger.publish(planned.messages)
    return workflow_id, ids


def test_a_message_that_is_lost_again_and_again(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """Dead with the reason, its workflow too; what is behind is blocked; the error callback is sent once."""
    workflow_id, (first, second) = _accepted(database, app)
    reconciler = reconciler_of(app, broker.name)
    found: list[Repaired] = []
    for _ in range(MOST_REPUBLISHED + 1):
        broker.age()
        broker.lose()
        assert sweep(reconciler).probes == 1
        broker.work()
        found.append(sweep(reconciler))
        relay_once(app.ledger)

    assert [each.republished for each in found] == [1] * MOST_REPUBLISHED + [0]
    assert [each.lost for each in found] == [0] * MOST_REPUBLISHED + [1]
    assert state_of(database, first) == ("dead", "lost")
    assert state_of(database, second)[0] == "blocked"
    assert app.AsyncResult(first).failed()
    assert sweep(reconciler).lost == 0
    callbacks = database.rows("SELECT id FROM step WHERE task = 'db_writes.record_unscored'")
    assert len(callbacks) == 1
    assert callbacks[0][0] in broker.work()
    sweep(reconciler)
    state = database.value("SELECT state FROM workflow WHERE id = %s", workflow_id)
    assert state == "dead"


def test_a_lost_member_of_a_header_ends_its_join(
    database: Database, app: DoorbellApp, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body that waits for it is blocked, and its error callback is sent."""
    monkeypatch.setattr(module, "MOST_REPUBLISHED", 0)
    workflow_id = database.add_workflow()
    body = app.signature(TASK).set(task_id="body")
    body.link_error(app.signature("db_writes.record_unscored", args=("w",)))
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": dict(body)}
    plain = message("leaf")
    headers = {**plain.headers, "group": "join", "group_index": 0}
    leaf = Message("leaf", TASK, plain.exchange, plain.routing_key, headers, {}, _body(embed))
    with database.connect() as connection:
        store.declare_joins(connection, {"join": 1}, {}, {}, ())
        connection.commit()
    broker.send([leaf], workflow_id)
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)

    assert reconciler.sweep().lost == 1
    assert state_of(database, "leaf") == ("dead", "lost")
    assert state_of(database, "body")[0] == "blocked"
    errbacks = "SELECT count(*) FROM step WHERE task = 'db_writes.record_unscored'"
    assert database.value(errbacks) == 1


def test_a_lost_step_that_cannot_be_settled_holds_up_no_other(
    database: Database, app: DoorbellApp, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body behind one is no signature: that one ends alone, with the others."""
    monkeypatch.setattr(module, "MOST_REPUBLISHED", 0)
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": {"subtask_type": "no"}}
    plain, other = message("odd"), message("other")
    headers = {**plain.headers, "group": "join", "group_index": 0}
    odd = Message("odd", TASK, plain.exchange, plain.routing_key, headers, {}, _body(embed))
    with database.connect() as connection:
        store.declare_joins(connection, {"join": 1}, {}, {}, ())
        connection.commit()
    broker.send([odd, other])
    broker.lose()
    reconciler = reconciler_of(app, broker.name)
    pass_a_probe(reconciler, broker)

    assert reconciler.sweep().lost == 2
    assert state_of(database, "other") == ("dead", "lost")
    assert state_of(database, "odd") == ("dead", "lost")
    assert reconciler.sweep().lost == 0


def _body(embed: dict[str, Any]) -> str:
    return json.dumps([["w"], {}, embed])


@pytest.mark.parametrize(
    ("last", "expected"), [("done", "done"), ("failed", "failed"), ("dead", "dead")]
)
def test_a_workflow_that_nobody_ended(
    database: Database, app: DoorbellApp, last: str, expected: str
) -> None:
    """All its steps have ended long ago and it is still open: it is ended as its steps say."""
    workflow_id = _open_workflow(database, "done", last)

    assert reconciler_of(app, "db_writes").sweep() == Repaired(ended=1)
    assert database.value("SELECT state FROM workflow WHERE id = %s", workflow_id) == expected
    assert reconciler_of(app, "db_writes").sweep() == NOTHING


def test_a_workflow_that_goes_on_stays_open(database: Database, app: DoorbellApp) -> None:
    """One step that can still run is enough."""
    _open_workflow(database, "done", "planned")

    assert reconciler_of(app, "db_writes").sweep() == NOTHING


def test_workflows_of_one_moment_are_all_looked_at(
    database: Database, app: DoorbellApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted in one transaction, more than a sweep looks at: none is passed over for ever."""
    monkeypatch.setattr(module, "_ENDED_A_SWEEP", 2)
    for last in ("planned", "planned", "planned", "done", "planned"):
        _open_workflow(database, last)
    database.rows("UPDATE workflow SET accepted_at = now() - interval '1 hour'")
    reconciler = reconciler_of(app, "db_writes")

    assert sum(reconciler.sweep().ended for _ in range(6)) == 1


def _open_workflow(database: Database, *states: str) -> UUID:
    workflow_id = database.add_workflow()
    database.rows("UPDATE workflow SET accepted_at = now() - interval '1 hour'")
    for state in states:
        database.rows(
            "INSERT INTO step (id, workflow_id, task, queue, state) VALUES (%s, %s, %s, %s, %s)",
            str(uuid4()),
            workflow_id,
            TASK,
            "db_writes",
            state,
        )
    return workflow_id


def test_a_backlog_that_is_older_than_an_hour_is_no_loss(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """Probes wait in it as long as everything else, and each proves what was published before it alone."""
    broker.send([message()])
    reconciler = reconciler_of(app, broker.name)
    for _ in range(3):
        assert sweep(reconciler).probes == 1
    broker.age()
    broker.age()
    behind = [message() for _ in range(5)]
    broker.send(behind)
    assert sweep(reconciler).republished == 0

    for _ in range(4):
        # The first login, and the probes between it and those behind.
        assert len(broker.work(most=1)) == 1
        assert sweep(reconciler).republished == 0
    assert [state_of(database, m.step_id) for m in behind] == [("ready", None)] * 5


def test_a_probe_whose_row_is_gone_proves_nothing(
    database: Database, app: DoorbellApp, broker: Broker
) -> None:
    """The database was put back to before it: nobody knows what was published behind it."""
    broker.send([message()])
    reconciler = reconciler_of(app, broker.name)
    assert sweep(reconciler).probes == 1
    broker.age()
    behind = message()
    broker.send([behind])
    probe = database.value("SELECT id FROM step WHERE task = 'maintenance.probe'")
    database.rows("DELETE FROM step WHERE id = %s", probe)
    with database.connect() as connection:
        store.lock_steps(connection, [(probe, "maintenance.probe", broker.name, None, None, 0)])
        commit(connection, app, [Unit(probe, results={probe: result_of(probe)})])

    assert sweep(reconciler).republished == 0
    assert state_of(database, behind.step_id) == ("ready", None)


def test_a_database_that_goes_away_meanwhile_is_met_again(
    database: Database, app: DoorbellApp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing to give up, too: the sweep fails as one that is tried again."""
    take_lost = module.repair.take_lost

    def taken(connection: Any, *arguments: Any) -> Any:
        rows = take_lost(connection, *arguments)
        database.rows("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        return rows

    monkeypatch.setattr(module.repair, "take_lost", taken)
    with pytest.raises(OperationalError):
        reconciler_of(app, queue).sweep()
