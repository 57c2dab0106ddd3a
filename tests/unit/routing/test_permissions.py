"""The regular expressions of the permissions, as RabbitMQ applies them: a search, so they are anchored."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.transport.native_delayed_delivery import calculate_routing_key

from routing.load import load
from routing.permissions import CELERY_QUEUES, permissions

TOPOLOGY = load()
RIGHTS = permissions(TOPOLOGY)
USERS = [user["name"] for user in RIGHTS["users"]]


def _topic_write(user: str, exchange: str) -> str:
    rows = RIGHTS["topic_permissions"]
    found = [r["write"] for r in rows if (r["user"], r["exchange"]) == (user, exchange)]
    assert len(found) == 1
    return str(found[0])


def test_there_is_one_user_for_each_pool_and_no_guest() -> None:
    """Pools are told apart by the broker; the default account is not there."""
    assert [*TOPOLOGY.pools, "gateway", "beat", "flower", "operator"] == USERS
    assert {u["name"]: u["tags"] for u in RIGHTS["users"] if u["tags"]} == {
        "operator": ["management"]
    }


@pytest.mark.parametrize("row", RIGHTS["permissions"] + RIGHTS["topic_permissions"], ids=str)
def test_every_pattern_is_anchored(row: dict[str, Any]) -> None:
    """RabbitMQ searches: a pattern without ^ and $ would match a part of any name."""
    for right in ("configure", "write", "read"):
        pattern = row.get(right, "^$")
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        re.compile(pattern)


@pytest.mark.parametrize("row", RIGHTS["permissions"], ids=lambda row: str(row["user"]))
def test_nobody_may_go_around_the_topic_permissions(row: dict[str, Any]) -> None:
    """By the default exchange, by the way out of the delays, or by binding a queue to the work."""
    for name in ("amq.default", TOPOLOGY.delays.exit, TOPOLOGY.delays.level_name(0)):
        assert not re.search(row["write"], name)
    assert not re.search(row["read"], TOPOLOGY.work_exchange)


@pytest.mark.parametrize("user", USERS)
def test_a_topic_exchange_that_may_be_written_to_has_a_topic_permission(user: str) -> None:
    """RabbitMQ lets everything through where there is none."""
    row = next(row for row in RIGHTS["permissions"] if row["user"] == user)
    for exchange in (TOPOLOGY.work_exchange, TOPOLOGY.dead_exchange, TOPOLOGY.delays.entrance):
        if re.search(row["write"], exchange):
            assert _topic_write(user, exchange)


@settings(deadline=None)
@given(seconds=st.integers(1, 2**28 - 1), pool=st.sampled_from(list(TOPOLOGY.pools)))
def test_a_delayed_key_is_allowed_exactly_for_what_the_pool_sends(seconds: int, pool: str) -> None:
    """Any delay that Celery can express, to each queue."""
    pattern = _topic_write(pool, TOPOLOGY.delays.entrance)
    reachable = {
        queue
        for queue in TOPOLOGY.queues
        if re.search(pattern, calculate_routing_key(seconds, queue))
    }
    assert reachable == set(TOPOLOGY.sends_of(pool))


@pytest.mark.parametrize(
    ("name", "is_celerys"),
    [
        ("db_writes@host.example.celery.pidbox", True),
        ("db_writes.2@host.celery.pidbox", True),
        ("6a9e2e07-1d4b-3b7e-a3d0-6a9e2e071d4b.reply.celery.pidbox", True),
        ("celeryev.6a9e2e07-1d4b-3b7e-a3d0-6a9e2e071d4b", True),
        ("db_writes", False),
        ("celeryev.stray", False),
        ("stray.celery.pidbox", False),
    ],
)
def test_celerys_own_queues_are_told_from_strays(name: str, is_celerys: bool) -> None:
    """Verifying overlooks control and event queues, and nothing that only looks like one."""
    assert bool(CELERY_QUEUES.fullmatch(name)) is is_celerys
