"""Logins of an import are applied once, each user's in the order of their times, whatever is repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services import personal_data
from services.adapters.postgres import PostgresTransaction
from services.adapters.retention import forget_old
from services.domain.errors import Unavailable
from services.domain.outcome import Done, Failed, Outcome
from services.domain.slices import Slice
from services.gateway.reports import canonical_body, read_report
from services.gateway.staging import Elsewhere, Portion, Staged, open_import, stage
from services.gateway.tenant_keys import KeyChain
from services.handlers import import_logins
from services.handlers.records import SavedLogin
from tests.integration.adapters.conftest import AT, FIREFOX, SAFARI, World

ALL = Slice(-2048, 2047)


class Scholar:
    """An outlier API that remembers what it learned, and is away when told so; and a breaker that is closed."""

    def __init__(self) -> None:
        self.learned: list[SavedLogin] = []
        self.is_away = False
        self.failures = 0

    def learn(self, logins: Sequence[SavedLogin]) -> None:
        if self.is_away:
            raise Unavailable("away")
        self.learned += logins

    def check(self) -> bool:
        return False

    def record_success(self) -> None:
        """Nothing to count."""

    def record_failure(self) -> None:
        self.failures += 1


def _login(line: int, user: str = "ada", hours: float | None = None, **facts: Any) -> Staged:
    at = AT + timedelta(hours=line if hours is None else hours)
    login = {
        "event_id": f"{user}-{line}",
        "user_id": user,
        "occurred_at": at.isoformat(),
        "ip": "203.0.113.7",
        "user_agent": FIREFOX,
        "history": True,
    }
    report, errors = read_report(login | facts)
    assert report, errors
    return Staged(line, canonical_body(report), None)


def _put_in(world: World, *logins: Staged) -> UUID:
    with world.connect() as connection:
        import_id = open_import(connection, "shop", uuid4().hex).import_id
        keys = KeyChain().of(connection, ["shop"])["shop"]
        portion = Portion(0, 1000, logins, skipped=0, refused=0)
        assert stage(connection, "shop", import_id, portion, keys)
    return import_id


def _apply(world: World, import_id: UUID, slices: int = 1) -> list[Outcome]:
    given = [(str(import_id), ALL.first, ALL.last)] * slices
    with world.begin() as tx:
        return [*import_logins.apply_slices(given, tx, world.networks)]


def _learn(world: World, import_id: UUID, api: Any) -> Outcome:
    given = (str(import_id), ALL.first, ALL.last)
    return import_logins.learn_slices(given, world.directly, api, api)


def test_a_users_logins_are_applied_and_learned_in_time_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's order says nothing; slices are smaller than what a user has."""
    monkeypatch.setattr(import_logins, "SLICE_LOGINS", 7)
    drawn = random.Random(5)
    hours = drawn.sample(range(100), 60)
    logins = [_login(n, f"user-{n % 3}", hours=at) for n, at in enumerate(hours, start=1)]
    import_id = _put_in(world, *logins)
    outcomes = _apply(world, import_id, slices=10)
    assert [it.result["accepted"] for it in outcomes if isinstance(it, Done)] == [7] * 8 + [4, 0]
    api = Scholar()
    assert _learn(world, import_id, api) == Done({"learned": 60})
    for user in ("user-0", "user-1", "user-2"):
        times = [it.occurred_at for it in api.learned if it.user_id == user]
        assert len(times) == 20
        assert times == sorted(times)
    known = [it.user_id for it in api.learned if not it.is_device_known]
    assert sorted(known) == ["user-0", "user-1", "user-2"]
    firsts = "SELECT user_id, first_seen_at FROM device"
    earliest = {
        f"user-{user}": AT + timedelta(hours=min(hours[(user - 1) % 3 :: 3])) for user in range(3)
    }
    assert dict(world.rows(firsts)) == earliest
    assert world.rows("SELECT count(*) FROM reported_login WHERE history") == [(60,)]
    assert world.rows("SELECT DISTINCT name, state FROM workflow") == [("login", "done")]


def test_each_event_counts_once(world: World) -> None:
    """Twice in a file, in two files, and reported before: one login, which is learned once."""
    first = _put_in(world, _login(1, event_id="e-1"), _login(2, event_id="e-1"), _login(3))
    second = _put_in(world, _login(7, event_id="e-1"), _login(8, event_id="e-8"))
    assert _apply(world, first) == [Done({"accepted": 2, "known": 1})]
    assert _apply(world, second) == [Done({"accepted": 1, "known": 1})]
    assert _apply(world, second) == [Done({"accepted": 0, "known": 0})]
    assert world.rows("SELECT count(*) FROM login") == [(3,)]
    api = Scholar()
    for import_id in (first, second, first):
        _learn(world, import_id, api)
    assert len({it.workflow_id for it in api.learned}) == len(api.learned) == 3
    with world.begin() as tx:
        assert tx.sum_up_history(first) == (2, 1)


def test_a_slice_that_is_broken_off_changes_nothing(world: World) -> None:
    """It is all done by its transaction, or all to be done again."""
    import_id = _put_in(world, _login(1), _login(2, user_agent=SAFARI))
    with world.connect() as connection:
        tx = PostgresTransaction(connection)
        import_logins.apply_slices([(str(import_id), ALL.first, ALL.last)], tx, world.networks)
        connection.rollback()
    for table in ("workflow", "idempotency_key", "device", "login", "import_part"):
        assert world.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert _apply(world, import_id) == [Done({"accepted": 2, "known": 0})]


def test_what_the_api_cannot_learn_now_is_learned_later(world: World) -> None:
    """The breaker hears of it; an import that goes on teaches each login once."""
    import_id = _put_in(world, _login(1))
    _apply(world, import_id)
    api = Scholar()
    api.is_away = True
    assert isinstance(_learn(world, import_id, api), Failed)
    assert api.failures == 1
    api.is_away = False
    assert _learn(world, import_id, api) == Done({"learned": 1})
    assert _learn(world, import_id, api) == Done({"learned": 0})


def test_a_user_who_is_erased_is_not_taken_in(world: World) -> None:
    """Neither from where logins wait, nor to the outlier API."""
    import_id = _put_in(world, _login(1), _login(2, "bob"))
    with world.connect() as connection:
        assert personal_data.count(connection, "shop", "ada")["import_login"] == 1
        personal_data.erase(connection, "shop", "ada")
    assert _apply(world, import_id) == [Done({"accepted": 1, "known": 0})]
    with world.connect() as connection:
        personal_data.erase(connection, "shop", "bob")
    api = Scholar()
    assert _learn(world, import_id, api) == Done({"learned": 0})
    assert api.learned == []
    assert world.rows("SELECT count(*) FROM workflow") == [(0,)]


def test_portions_follow_each_other(world: World) -> None:
    """One that comes again changes nothing; a gap, and what comes after the beginning, is told."""
    import_id = _put_in(world, _login(1))
    with world.connect() as connection:
        keys = KeyChain().of(connection, ["shop"])["shop"]

        def add(after: int, line: int, *logins: Staged, to: UUID = import_id) -> bool:
            portion = Portion(after, line, logins, skipped=1, refused=2)
            return stage(connection, "shop", to, portion, keys)

        assert add(0, 1000, _login(1))
        assert add(1000, 1010, _login(1005))
        with pytest.raises(Elsewhere, match="up to line 1010"):
            add(1011, 1020)
        assert not add(0, 1, to=uuid4())
        connection.execute("UPDATE login_import SET begun_at = now()")
        with pytest.raises(Elsewhere, match="has begun"):
            add(1010, 1020)
    staged = "SELECT staged, skipped, refused FROM login_import"
    assert world.rows(staged) == [(2, 1, 2)]


@pytest.mark.parametrize(("begun", "days"), [(None, 1), ("now()", 7)])
def test_an_import_that_was_left_is_cleared_away(
    world: World, begun: str | None, days: int
) -> None:
    """A day after the last of it came, a week after it began; not earlier, and not while it goes on."""
    import_id = _put_in(world, _login(1), _login(2, "bob"))
    world.rows(f"UPDATE login_import SET begun_at = {begun or 'NULL'}")
    age = "UPDATE login_import SET touched_at = now() - make_interval(hours => %s)"
    world.rows(age, days * 24 - 1)
    assert forget_old(world.connect, 0, 0)["delete_import_logins"] == 0
    world.rows(age, days * 24 + 1)
    world.rows(
        "INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'import')", import_id
    )
    assert forget_old(world.connect, 0, 0)["delete_import_logins"] == 0
    world.rows("UPDATE workflow SET state = 'dead'")
    forgotten = forget_old(world.connect, 0, 0)
    assert (forgotten["delete_import_logins"], forgotten["delete_imports"]) == (2, 1)
    assert world.rows("SELECT count(*) FROM login_import") == [(0,)]
