"""A user gets so many mails about new devices within an hour, and one about all the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from services.domain.model import DeviceCheck
from services.domain.outcome import Done
from services.domain.policy import DEFAULT
from services.handlers.message import compose_mail
from services.handlers.notify_user import notify_plainly, notify_users, tell_folded
from services.handlers.records import Notice
from tests.integration.adapters.conftest import SAFARI, World
from tests.integration.adapters.judging import apply, make_verdict

MOST = 3


@pytest.fixture(autouse=True)
def _limited(world: World) -> None:
    document = replace(DEFAULT, mails_per_hour=MOST).to_document()
    world.rows("UPDATE tenant SET policy = %s", json.dumps(document))


def new_devices(world: World, count: int, user: str = "ada") -> list[DeviceCheck]:
    """Sign-ins on so many devices that the user was not seen on before, behind a first one that does not count."""
    world.check(world.report(user, SAFARI, ip="203.0.113.7"))
    logins = [
        world.report(user, f"App{number}/1.0 (Windows NT 10.0) Special{number}/2.0")
        for number in range(count)
    ]
    checks = [check for login in logins for check in world.check(login)]
    return [replace(check, is_new=True, is_first=False) for check in checks]


def notify(world: World, checks: Sequence[DeviceCheck]) -> int:
    """How many notices were recorded."""
    with world.begin() as tx:
        outcomes = notify_users(checks, tx)
    return sum(len(outcome.notices) for outcome in outcomes if isinstance(outcome, Done))


def tell(world: World, minutes_later: int = 61) -> list[Notice]:
    """What users are told together, so much later."""
    world.rows(
        "UPDATE folded_notice SET folded_at = folded_at - make_interval(mins => %s)", minutes_later
    )
    with world.begin() as tx:
        told = tell_folded(tx)
        notices = [tx.notice(UUID(notice_id)) for notice_id in told.notices]
    return [notice for notice in notices if notice is not None]


def folded(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM folded_notice")[0][0])


@pytest.mark.parametrize("at_once", [True, False], ids=["in one list", "one by one"])
def test_what_is_too_much_is_told_together(world: World, at_once: bool) -> None:
    """No earlier than an hour later, in one mail that says how many there were."""
    checks = new_devices(world, 8)
    lists = [checks] if at_once else [[check] for check in checks]
    assert sum(notify(world, each) for each in lists) == MOST
    assert folded(world) == 8 - MOST

    assert tell(world, minutes_later=59) == []
    [notice] = tell(world, minutes_later=2)
    assert (notice.reason, notice.logins) == ("folded", 8 - MOST)
    assert f"{8 - MOST} more" in compose_mail(notice, world.networks.of(notice.ip)).subject
    assert tell(world) == []


def test_each_user_has_his_own_number(world: World) -> None:
    """Who is left in peace is not so because of somebody else."""
    checks = new_devices(world, 4) + new_devices(world, 2, "eve")
    assert notify(world, checks) == MOST + 2
    assert [notice.user_id for notice in tell(world)] == ["ada"]


def test_an_hour_later_each_is_told_again(world: World) -> None:
    """The hour is any hour, not the clock's."""
    checks = new_devices(world, 6)
    assert notify(world, checks[:4]) == MOST
    world.rows("UPDATE notice SET recorded_at = recorded_at - interval '61 minutes'")
    assert notify(world, checks[4:]) == 2


def test_a_step_that_runs_again_changes_nothing(world: World) -> None:
    """Neither what was told nor what was put aside is told another time, by the replay or by the callback."""
    checks = new_devices(world, 5)
    notify(world, checks)
    world.rows("UPDATE notice SET recorded_at = recorded_at - interval '61 minutes'")
    assert notify(world, checks) == 0
    with world.begin() as tx:
        again = notify_plainly([check.workflow_id for check in checks], tx)
    assert all(outcome.notices == () for outcome in again if isinstance(outcome, Done))
    assert (folded(world), len(tell(world))) == (2, 1)


def test_the_application_hears_of_each(world: World) -> None:
    """It is a program, and may count for itself."""
    world.give_webhook("https://example.org/hook")
    words: dict[str, Any] = {"tell": {"new_device": "both", "verdict": "user"}}
    document = replace(DEFAULT, mails_per_hour=1, **words).to_document()
    world.rows("UPDATE tenant SET policy = %s", json.dumps(document))
    assert notify(world, new_devices(world, 4)) == 1 + 4
    assert folded(world) == 3


def test_without_more_nothing_is_told(world: World) -> None:
    """Exactly as many as there may be."""
    assert notify(world, new_devices(world, MOST)) == MOST
    assert (folded(world), tell(world)) == (0, [])


def test_a_dry_run_records_and_sends_nothing(world: World) -> None:
    """Neither one by one nor together; what is recorded so is never taken up, also by a later policy."""
    tried = replace(DEFAULT, mails_per_hour=MOST, is_dry_run=True).to_document()
    world.rows("UPDATE tenant SET policy = %s", json.dumps(tried))

    assert notify(world, new_devices(world, MOST + 2)) == 0
    assert tell(world) == []

    states = "SELECT reason, state, count(*) FROM notice GROUP BY 1, 2 ORDER BY 1"
    assert world.rows(states) == [("folded", "dry_run", 1), ("new_device", "dry_run", MOST)]
    world.rows("UPDATE tenant SET policy = NULL")
    [(notice_id,)] = world.rows("SELECT id FROM notice WHERE reason = 'folded'")
    with world.begin() as tx:
        assert not tx.claim_notice(notice_id, 60)[0]


def test_verdicts_have_their_number_too(world: World) -> None:
    """Whoever knows a password sends nobody mails without end; users who want none of new devices hear of these."""
    policy = replace(DEFAULT, mails_per_hour=MOST, may_unsubscribe=True).to_document()
    world.rows("UPDATE tenant SET policy = %s", json.dumps(policy))
    world.rows("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ada')")
    logins = [world.report(other_email="ada@example.net") for _ in range(MOST + 2)]
    outcomes = [apply(world, make_verdict(each.workflow_id, "high", "deny"))[0] for each in logins]

    at_each = "SELECT channel, count(*) FROM notice GROUP BY 1 ORDER BY 1"
    assert world.rows(at_each) == [("email", MOST), ("other_email", MOST)]
    assert [len(it.notices) for it in outcomes if isinstance(it, Done)] == [2] * MOST + [0] * 2
    [notice] = tell(world)
    assert (notice.reason, notice.logins) == ("folded", 2)
    assert tell(world) == []


def test_a_verdict_is_told_of_whatever_was_put_aside(world: World) -> None:
    """A login of too many new ones may still be one that does not look like the user."""
    checks = new_devices(world, MOST + 1)
    notify(world, checks)
    apply(world, make_verdict(checks[-1].workflow_id, "high", "deny"))
    verdicts = "SELECT workflow_id FROM notice WHERE reason = 'verdict'"
    assert world.rows(verdicts) == [(checks[-1].workflow_id,)]
