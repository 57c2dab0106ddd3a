"""What is kept for a time only goes when that is over, and nothing else does."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.adapters.retention import KEYS_DAYS, forget_old
from services.personal_data import PLACES
from tests.integration.adapters.conftest import World
from tests.support.fleet import ROOT

ADDRESSES, LOGINS = 30, 400


def _forget(world: World, addresses: int = ADDRESSES, logins: int = LOGINS) -> dict[str, int]:
    return forget_old(world.connect, addresses, logins)


def _old(world: World, days: float, *, state: str = "done", **facts: Any) -> UUID:
    workflow_id = world.saved(**facts).workflow_id
    world.rows(
        "UPDATE workflow SET state = %s, accepted_at = now() - make_interval(secs => %s * 86400)"
        " WHERE id = %s",
        state,
        days,
        workflow_id,
    )
    return workflow_id


def _addresses(world: World, table: str) -> set[str]:
    return {row[0] for row in world.rows(f"SELECT host(ip) FROM {table}")}


@pytest.mark.parametrize(
    ("address", "left"),
    [("203.0.113.77", "203.0.113.0"), ("2001:db8:1:2::3", "2001:db8:1::")],
)
def test_old_addresses_lose_their_last_part(world: World, address: str, left: str) -> None:
    """And mail addresses go; of younger logins both stay."""
    _old(world, ADDRESSES + 1, ip=address, other_email="ada@example.net")
    _old(world, ADDRESSES - 1, user_id="bob", ip="198.51.100.9", other_email="bob@example.net")
    assert _forget(world)["truncate_addresses"] == 1
    for table in ("reported_login", "login"):
        assert _addresses(world, table) == {left, "198.51.100.9"}
    mails = "SELECT email, other_email FROM reported_login ORDER BY email NULLS FIRST"
    assert world.rows(mails) == [(None, None), ("bob@example.org", "bob@example.net")]
    assert _forget(world)["truncate_addresses"] == 0


@pytest.mark.parametrize(("addresses", "logins"), [(ADDRESSES, 0), (0, ADDRESSES)])
def test_a_digest_that_an_address_is_in_goes_with_it(
    world: World, addresses: int, logins: int
) -> None:
    """Whether the address is truncated, or its login deleted before that."""
    old, young = _old(world, ADDRESSES + 1), _old(world, ADDRESSES - 1, user_id="bob")
    for workflow in (old, young):
        world.rows("INSERT INTO idempotency_key VALUES ('shop', %s, 'sha', %s)", workflow, workflow)
    _forget(world, addresses, logins)
    kept = dict(world.rows("SELECT workflow_id, body_sha256 FROM idempotency_key"))
    assert kept == {old: b"", young: b"sha"}


def test_digests_of_earlier_releases_are_taken_away(world: World) -> None:
    """Of logins whose addresses were truncated before, or that were deleted; no others."""
    migration = ROOT / "deploy" / "postgres" / "migrations" / "0029.bodies-forgotten.sql"
    old, young = _old(world, ADDRESSES + 1), _old(world, 0, user_id="bob")
    gone = uuid4()
    world.rows(
        "UPDATE retention SET done_until = now() - interval '1 day' WHERE what = 'addresses'"
    )
    world.rows(
        "INSERT INTO idempotency_key SELECT 'shop', id::text, 'sha', id, now() - make_interval(days => days)"
        " FROM unnest(%s::uuid[], %s::int[]) AS given (id, days)",
        *([old, young, gone], [ADDRESSES + 1, 0, 0]),
    )
    world.rows(migration.read_text())
    kept = dict(world.rows("SELECT workflow_id, body_sha256 FROM idempotency_key"))
    assert kept == {old: b"", young: b"sha", gone: b""}


def test_a_backlog_is_gone_through_whole(world: World) -> None:
    """Also where many logins were accepted in one moment."""
    for number in range(7):
        _old(world, ADDRESSES + 1, user_id=f"u{number}")
    world.rows("UPDATE workflow SET accepted_at = now() - interval '50 days'")
    _old(world, ADDRESSES + 1, user_id="last")
    assert _forget(world)["truncate_addresses"] == 8
    assert _addresses(world, "login") == {"203.0.113.0"}


def test_old_workflows_go_with_all_that_hangs_on_them(world: World) -> None:
    """But not one that is still open; the user's device stays."""
    _old(world, LOGINS + 1)
    stays = _old(world, LOGINS + 1, user_id="open", state="accepted")
    _old(world, LOGINS - 1, user_id="young")
    assert _forget(world)["delete_workflows"] == 1
    assert {row[0] for row in world.rows("SELECT user_id FROM login")} == {"open", "young"}
    assert stays in {row[0] for row in world.rows("SELECT id FROM workflow")}
    assert len(world.rows("SELECT id FROM device")) == 3


def test_keys_and_events_have_their_own_time(world: World) -> None:
    """A key at least until its login would be refused for its age."""
    world.rows(
        "INSERT INTO idempotency_key (tenant_id, key, body_sha256, workflow_id, created_at)"
        " SELECT 'shop', n::text, '', gen_random_uuid(), now() - make_interval(days => n)"
        " FROM unnest(%s::int[]) AS n",
        [KEYS_DAYS - 1, KEYS_DAYS + 1],
    )
    world.rows(
        "INSERT INTO application_event (id, tenant_id, type, data, ended_at)"
        " SELECT gen_random_uuid(), 'shop', 'webhook.test', '{}', now() - make_interval(days => n)"
        " FROM unnest(%s::int[]) AS n",
        [LOGINS - 1, LOGINS + 1],
    )
    found = _forget(world)
    assert (found["delete_keys"], found["delete_events"]) == (1, 1)
    assert world.rows("SELECT key FROM idempotency_key") == [(str(KEYS_DAYS - 1),)]


def test_no_days_mean_for_good(world: World) -> None:
    """Nothing is looked at."""
    _old(world, 5000)
    assert set(_forget(world, 0, 0).values()) == {0}
    assert _addresses(world, "login") == {"203.0.113.7"}


def test_the_page_names_every_table_about_users() -> None:
    """Who asks what is kept is told all of it."""
    page = (ROOT / "deploy" / "privacy.md").read_text()
    assert [place.table for place in PLACES if f"`{place.table}`" not in page] == []
