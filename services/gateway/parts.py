"""The gateway's long-lived parts: made without connecting, started and stopped with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
import psycopg
from fastapi import Request
from psycopg_pool import ConnectionPool

from services.gateway.acceptance import Answer, Submission, accept
from services.gateway.authentication import KeyRing
from services.gateway.clock import DatabaseClock
from services.gateway.intake import Intake
from services.gateway.metrics import Metrics
from services.gateway.outbox import (
    MAX_UNPLANNED,
    Backlog,
    Measured,
    Outbox,
    PublishesMessages,
)
from services.gateway.planner import FEW_WAITING, Planner
from services.gateway.plans import Plans
from services.gateway.problems import unavailable
from services.gateway.rates import Rates
from services.gateway.tenant_keys import KeyChain
from services.gateway.unplanned import MOST_WAITING, count_unplanned, count_waiting, plan_oldest
from services.ledger.confirms import Confirm
from services.ledger.message import Message
from services.ledger.store import note_confirms
from services.observability.sampling import Budget
from services.observability.spans import Spans
from services.queries import load_queries
from services.sessions import Session, check

T = TypeVar("T")
Connection = psycopg.Connection[Any]

READ_SECONDS = 5.0
_SQL = {
    name: text.encode()
    for name, text in (
        load_queries(__package__, "intake.sql") | load_queries("services", "standby.sql")
    ).items()
}
_CONNECTION_OPTIONS = {
    "application_name": "doorbell-gateway",
    "connect_timeout": 2,
    # A database that hangs must end in a 503, not in a request that hangs as well.
    "options": "-c statement_timeout=5000 -c lock_timeout=3000"
    " -c idle_in_transaction_session_timeout=10000",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Parts:
    """Everything that outlives a request."""

    def __init__(
        self,
        database_url: str,
        plans: Plans,
        new_publisher: Callable[[], PublishesMessages],
        spans: Spans | None = None,
    ) -> None:
        self.metrics = Metrics(plans.first_queues)
        self.pool: ConnectionPool[Connection] = ConnectionPool(
            database_url,
            connection_class=Session,
            kwargs=_CONNECTION_OPTIONS,
            min_size=1,
            max_size=12,
            timeout=2.0,
            # Short: a pool that waits longer between its attempts is still away
            # when the database has long been back.
            reconnect_timeout=1.0,
            check=check,
            open=False,
        )
        self.clock = DatabaseClock()
        self.keys = KeyRing()
        self.rates = Rates()
        self.key_chain = KeyChain()
        self.portions = asyncio.Lock()
        """Portions of imports are read one after the other, as they came."""
        self.outbox = Outbox(new_publisher, self._note_confirms, self.metrics)
        self.backlog = Backlog(self._measure_outbox, self.metrics)
        self.intake = Intake(self._accept, lambda: self.backlog.is_flooded)
        self.planner = Planner(self._has_room, self._plan_list)
        self.plans = plans
        self._budget = Budget()
        self._spans = spans

    def start(self) -> None:
        self.pool.open()
        self.outbox.start()
        self.backlog.start()
        self.intake.start()
        self.planner.start()

    def stop(self) -> None:
        """Answer and publish what waits, then close."""
        self.intake.stop()
        self.planner.stop()
        self.outbox.stop()
        self.backlog.stop()
        self.pool.close()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a connection in a thread; 503 when it takes more than five seconds."""

        def run() -> T:
            with self.pool.connection() as connection:
                return query(connection)

        try:
            with anyio.fail_after(READ_SECONDS):
                return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
        except TimeoutError:
            raise unavailable("the database does not answer in time") from None

    async def begin(self, act: Callable[[Connection], tuple[T, Sequence[Message]]]) -> T:
        """As `read`, for what takes a workflow into the ledger; its first messages are published after the commit."""
        answer, messages = await self.read(act)
        self.outbox.offer(messages)
        return answer

    def is_read_only(self, connection: Connection) -> bool:
        """Whether logins cannot be written; raises when there is no schema."""
        row = connection.execute(_SQL["readiness"]).fetchone()
        return bool(row and row[0])

    def _accept(self, submissions: Sequence[Submission]) -> Sequence[Answer]:
        began = time_ns()
        with self.pool.connection() as connection:
            answers, messages = accept(
                connection,
                submissions,
                self.plans.login,
                self.key_chain,
                self._budget.take,
                self.backlog.is_flooded,
            )
        self.outbox.offer(messages)
        if self._spans is not None:
            ended = time_ns()
            for answer in answers:
                if answer.outcome == "accepted":
                    self._spans.accepted(answer.workflow_id, began, ended)
        return answers

    def _has_room(self) -> bool:
        if not self.backlog.unplanned:
            return False
        with self.pool.connection() as connection:
            return count_waiting(connection, self.plans.paced_by, FEW_WAITING + 1) <= FEW_WAITING

    def _plan_list(self, limit: int) -> int:
        with self.pool.connection() as connection:
            messages = plan_oldest(
                connection, limit, self.plans.login, self.key_chain, self._budget.take
            )
        self.outbox.offer(messages)
        return len(messages)

    def _note_confirms(self, confirms: Sequence[Confirm]) -> None:
        with self.pool.connection() as connection:
            note_confirms(connection, confirms)

    def _measure_outbox(self, limit: int) -> Measured:
        with self.pool.connection() as connection:
            row = connection.execute(_SQL["outbox"], {"limit": limit}).fetchone()
            standby = connection.execute(_SQL["is_standby_missing"]).fetchone()
            waiting = count_waiting(connection, self.plans.paced_by, MOST_WAITING)
            unplanned = count_unplanned(connection, MAX_UNPLANNED + 1)
        assert row is not None
        assert standby is not None
        self.clock.tell(row[2])
        return Measured(
            row[0],
            row[1],
            is_standby_missing=standby[0],
            unplanned=unplanned,
            is_flooded=unplanned > 0 or waiting >= MOST_WAITING,
        )


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves `request`."""
    return cast(Parts, request.app.state.parts)
