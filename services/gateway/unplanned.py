"""Logins that were accepted without steps, because more came than the pools take, get them when there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from services.gateway.tenant_keys import KeyChain
from services.ledger.labels import label_of
from services.ledger.message import Message
from services.ledger.planning import Plan, unshown
from services.ledger.store import insert_workflows
from services.queries import load_queries

MOST_WAITING = 4_000
"""While so many steps wait, and until all that were left are planned, a batch's logins are left without steps."""

_SQL = {name: text.encode() for name, text in load_queries(__package__, "unplanned.sql").items()}

Connection = psycopg.Connection[Any]


def leave_unplanned(connection: Connection, workflows: Sequence[UUID]) -> None:
    """Keep that these accepted workflows have no steps, in the caller's transaction."""
    if workflows:
        connection.execute(_SQL["leave_unplanned"], {"workflows": list(workflows)})


def count_unplanned(connection: Connection, limit: int) -> int:
    """How many there are, at most `limit`."""
    return _count(connection, "count_unplanned", limit=limit)


def count_waiting(connection: Connection, queues: Sequence[str], limit: int) -> int:
    """How many steps wait in these queues, published or not; all from `limit` on are the same."""
    return _count(connection, "count_waiting", queues=list(queues), limit=limit)


def plan_oldest(
    connection: Connection,
    limit: int,
    plan_login: Callable[[UUID, str], Plan],
    key_chain: KeyChain,
    is_shown: Callable[[], bool],
) -> Sequence[Message]:
    """Plan at most `limit`; the messages to publish once the caller has committed.

    Each login is planned once, whoever else plans at the same time.
    """
    rows = connection.execute(_SQL["take_unplanned"], {"limit": limit}).fetchall()
    keys = key_chain.of(connection, {tenant for _, tenant, _ in rows})
    plans = [
        (workflow, plan_login(workflow, label_of(workflow, keys[tenant].pseudonym(user))))
        for workflow, tenant, user in rows
    ]
    shown = [(workflow, plan if is_shown() else unshown(plan)) for workflow, plan in plans]
    insert_workflows(connection, shown)
    return [message for _, plan in shown for message in plan.messages]


def _count(connection: Connection, query: str, **values: object) -> int:
    row = connection.execute(_SQL[query], values).fetchone()
    assert row is not None
    return int(row[0])
