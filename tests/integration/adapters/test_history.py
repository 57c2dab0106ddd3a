"""Logins from before Doorbell watched: devices are known by them, nobody is told, and nothing is done."""

from __future__ import annotations

from services.domain.outcome import Done
from services.handlers.notify_user import notify_plainly, notify_users
from services.handlers.score_login import unscored
from tests.integration.adapters.conftest import FIREFOX, SAFARI, World
from tests.integration.adapters.judging import apply, make_verdict, store_earlier


def _notices(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM notice")[0][0])


def test_nobody_is_told_of_its_device(world: World) -> None:
    """Neither by the step nor by what stands in for it; the next login on that device is on a known one."""
    [check] = world.check(world.report(user_agent=SAFARI, history=True))
    [second] = world.check(world.report(user_agent=FIREFOX, history=True))
    assert (check.is_new, second.is_new) == (True, True)
    with world.begin() as tx:
        told = [*notify_users([check, second], tx), *notify_plainly([second.workflow_id], tx)]
    assert [outcome.result["notices"] for outcome in told if isinstance(outcome, Done)] == [0] * 3
    [live] = world.check(world.report(user_agent=FIREFOX))
    assert not live.is_new
    assert _notices(world) == 0


def test_nothing_is_done_about_its_verdict(world: World) -> None:
    """Also when it comes late; it is stored with what would have been done."""
    world.give_webhook("https://shop.example/hook")
    store_earlier(world, history=True)
    login = world.saved(history=True)
    apply(world, unscored(login.workflow_id))
    apply(world, make_verdict(login.workflow_id, "high", "deny"))
    [(level, switches, dry_run)] = world.rows("SELECT level, switches, dry_run FROM verdict")
    assert (level, switches, dry_run) == ("high", ["require_step_up", "locked"], True)
    for table in ("switch", "switch_change", "notice", "application_event"):
        assert world.rows(f"SELECT count(*) FROM {table}") == [(0,)]
