"""`python -m tests.bench.floor`: the floor, a bare AMQP loop for each pool that moves the messages and runs the SQL.

The handlers, their SQL and the ledger's statements are the product's, and so are the messages. There is
no Celery, no canvas, no events, metrics, retries, limits or watchdog: what is left is what any
implementation has to spend.
"""

from __future__ import annotations

import json
import multiprocessing.connection
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import UUID

from amqp import Channel

from services.adapters.breaker import PostgresBreaker
from services.adapters.clock import SystemClock
from services.adapters.connections import Connections, open_pool
from services.adapters.networks import AddressData
from services.adapters.outlier_api import HttpOutlierApi
from services.adapters.postgres import PostgresTransaction, directly
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer
from services.adapters.webhook import HttpWebhookSender
from services.domain.model import DeviceCheck, Verdict
from services.domain.outcome import Done, Outcome
from services.handlers.apply_verdict import apply_verdicts
from services.handlers.channels import senders
from services.handlers.check_device import check_reported
from services.handlers.deliver_notice import deliver_notice
from services.handlers.notify_user import notify_users
from services.handlers.save_event import save_events
from services.handlers.score_login import score_logins
from services.handlers.settle_notice import record_receipts
from services.ledger import store
from services.ledger.confirms import Confirms
from services.ledger.message import Message
from services.ledger.store import Execution
from services.runner.pace import Pace
from services.sessions import Session
from tests.bench.command import end_on_sigterm
from tests.bench.floor_broker import Sender, connected, declare
from tests.bench.floor_steps import JOIN_SIZE, READY, Ended, Incoming, body_of, ended

POOLS = ("device_checks", "notifications", "db_writes", "external_api")
_AT_ONCE = 100
_CALLS_AT_ONCE = 8
_LEASE_SECONDS = 20.0

InTransaction = Callable[[Sequence[Incoming], PostgresTransaction], Sequence[Outcome]]
Call = Callable[[Sequence[Incoming]], Sequence[Outcome]]


class Pool:
    """One process: takes what has come, does it, commits, publishes, acks."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._in_transaction, self._calls = _handlers()
        self._connection = Session.connect(os.environ["RIVAL_DATABASE"])
        self._broker = connected()
        self._consuming: Channel = self._broker.channel()
        self._sender = Sender(self._broker)
        self._waiting: list[Incoming] = []
        self._confirms = Confirms()

    def run(self, ready: Callable[[], object]) -> None:
        """Never returns."""
        self._consuming.basic_qos(0, _AT_ONCE, False)
        self._consuming.basic_consume(self._queue, callback=self._on_message)
        ready()
        pace = Pace()
        while True:
            self._gather(pace)
            steps, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            began_at = monotonic()
            if steps:
                self._do(steps)
                pace.note(began_at, len(steps))
            if self._confirms.seconds_left == 0.0:
                store.note_confirms(self._connection, self._confirms.take())
                self._connection.commit()

    def _gather(self, pace: Pace) -> None:
        while True:
            left = pace.seconds_left(len(self._waiting)) if self._waiting else None
            if left == 0.0:
                return
            seconds = min(
                (it for it in (left, self._confirms.seconds_left) if it is not None), default=1.0
            )
            try:
                self._broker.drain_events(timeout=max(seconds, 0.001))
            except TimeoutError:
                if not self._waiting:
                    return
            self._broker.take_received()

    def _do(self, steps: Sequence[Incoming]) -> None:
        outcomes = self._call(steps)
        ends, messages = self._commit(steps, outcomes)
        self._sender.publish(messages)
        self._confirms.add([message.step_id for message in messages], messages)
        self._consuming.basic_ack(ends[-1].of.tag, multiple=True)

    def _call(self, steps: Sequence[Incoming]) -> dict[str, Outcome]:
        """What the handlers that call the outside say, reserved before as the product does it."""
        asked = [step for step in steps if step.task in self._calls]
        if not asked:
            return {}
        self._lock(asked)
        store.lease(
            self._connection, [(step.id, _LEASE_SECONDS, False, None, None) for step in asked]
        )
        self._connection.commit()
        found: dict[str, Outcome] = {}
        for task, call in self._calls.items():
            mine = [step for step in asked if step.task == task]
            answers = call(mine) if mine else ()
            found |= {step.id: answer for step, answer in zip(mine, answers, strict=True)}
        return found

    def _lock(self, steps: Sequence[Incoming]) -> None:
        deliveries = [
            (it.id, it.task, self._queue, it.headers["root_id"], it.headers["parent_id"], 0)
            for it in steps
        ]
        rows = store.lock_steps(self._connection, deliveries)
        for step in steps:
            step.workflow_id = rows[step.id]["workflow_id"]

    def _commit(
        self, steps: Sequence[Incoming], outcomes: Mapping[str, Outcome]
    ) -> tuple[list[Ended], list[Message]]:
        started_at = datetime.now(UTC)
        self._lock(steps)
        found = dict(outcomes)
        for task, handle in self._in_transaction.items():
            mine = [step for step in steps if step.task == task]
            answers = handle(mine, PostgresTransaction(self._connection)) if mine else ()
            found |= {step.id: answer for step, answer in zip(mine, answers, strict=True)}
        ends = []
        for step in steps:
            outcome = found[step.id]
            if not isinstance(outcome, Done):
                raise SystemExit(f"{step.task} has failed: {outcome}")
            ends.append(ended(step, dict(outcome.result), outcome.notices))
        self._join(ends)
        execution = Execution("done", "floor", started_at)
        store.store_results(self._connection, [(end.stored, execution) for end in ends])
        messages = [(it, end.of.id, end.of.workflow_id) for end in ends for it in end.messages]
        store.make_ready(self._connection, messages)
        last = [end.of.workflow_id for end in ends if end.is_last and end.of.workflow_id]
        store.finish_workflows(self._connection, last)
        self._connection.commit()
        return ends, [message for message, _, _ in messages]

    def _join(self, ends: Sequence[Ended]) -> None:
        parts = {end.part.join_id: end for end in ends if end.part}
        sizes = {end.join_id: JOIN_SIZE for end in ends if end.join_id}
        locked = store.declare_joins(self._connection, sizes, {}, {}, parts)
        if not parts:
            return
        leaves = [end.part for end in ends if end.part]
        closed = {}
        for join_id, (join, rows) in store.count_parts(self._connection, leaves, locked).items():
            if join["size"] == len(rows) and join["state"] != "fired":
                results = [json.loads(row["result"]) for row in rows]
                parts[join_id].messages.append(body_of(parts[join_id], results))
                closed[join_id] = "fired"
        store.close_joins(self._connection, closed)

    def _on_message(self, frame: Any) -> None:
        headers = frame.properties["application_headers"]
        properties = {"reply_to": frame.properties.get("reply_to")}
        self._waiting.append(Incoming.read(frame.delivery_tag, headers, properties, frame.body))


def _handlers() -> tuple[dict[str, InTransaction], dict[str, Call]]:
    """The product's, by task: those that run in the list's transaction, and those that call the outside."""
    environment = os.environ
    connections = Connections(open_pool(environment["RIVAL_DATABASE"], "floor"))
    networks = AddressData()
    lend = directly(connections.direct)
    api = HttpOutlierApi(
        environment["RIVAL_OUTLIER_API"], networks, environment["RIVAL_OUTLIER_API_KEY"]
    )
    breaker = PostgresBreaker(connections.direct, "outlier_api")
    server = MailServer.from_url(f"smtp://127.0.0.1:{environment['RIVAL_SMTP_PORT']}")
    mailer = SmtpMailer(server, "floor@localhost.localdomain", SystemClock())
    ways = senders(mailer, HttpWebhookSender([], SystemClock()), networks)
    threads = ThreadPoolExecutor(_CALLS_AT_ONCE)

    def deliver(step: Incoming) -> Outcome:
        return deliver_notice(UUID(step.args[0]), lend, ways)

    def receipts(steps: Sequence[Incoming], tx: PostgresTransaction) -> Sequence[Outcome]:
        told = [step.args[0] for step in steps]
        return record_receipts([(UUID(it["notice_id"]), it["receipt"]) for it in told], tx)

    return {
        "device_checks.check_device": lambda steps, tx: check_reported(
            [UUID(step.args[0]) for step in steps], tx, networks
        ),
        "notifications.notify_user": lambda steps, tx: notify_users(_checks(steps), tx),
        "db_writes.save_event": lambda steps, tx: save_events(_checks(steps), tx, networks),
        "db_writes.apply_verdict": lambda steps, tx: apply_verdicts(
            [Verdict.from_message(step.args[0]) for step in steps], tx
        ),
        "notifications.record_receipt": receipts,
    }, {
        "external_api.score_login": lambda steps: score_logins(
            [step.args[0] for step in steps], lend, api, breaker
        ),
        "notifications.deliver_notice": lambda steps: [*threads.map(deliver, steps)],
    }


def _checks(steps: Sequence[Incoming]) -> list[DeviceCheck]:
    return [DeviceCheck.from_message(step.args[0]) for step in steps]


def main() -> None:
    """Start a process for each pool, and end when one ends, or with SIGTERM."""
    end_on_sigterm()
    declare(POOLS)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(POOLS) + 1)
    pools = [
        context.Process(target=_serve, args=(name, barrier), daemon=True, name=name)
        for name in POOLS
    ]
    for pool in pools:
        pool.start()
    barrier.wait(60)
    print(READY, flush=True)
    multiprocessing.connection.wait([pool.sentinel for pool in pools])


def _serve(name: str, barrier: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Pool(name).run(barrier.wait)


if __name__ == "__main__":
    main()
