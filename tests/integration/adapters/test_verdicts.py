"""Storing verdicts and acting on them, on a real PostgreSQL."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.domain.errors import Refused
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed
from services.domain.policy import DEFAULT
from services.handlers.apply_verdict import apply_verdicts, record_unscored
from services.handlers.note_failed import note_failed
from services.handlers.records import FailedStep, Notice
from services.handlers.score_login import unscored
from tests.integration.adapters.conftest import AT, SAFARI, World
from tests.integration.adapters.judging import apply, make_verdict, store_earlier
from tests.support.fleet import wait_until


@pytest.mark.parametrize(
    ("level", "action", "switches", "notices"),
    [
        ("low", "allow", [], 0),
        ("medium", "challenge", ["require_step_up"], 0),
        ("high", "challenge", ["require_step_up"], 1),
        ("high", "deny", ["require_step_up", "locked"], 1),
        ("unscored", "allow", [], 0),
    ],
)
def test_the_policy_is_applied(
    world: World, level: str, action: str, switches: list[str], notices: int
) -> None:
    """Each level and action turns on its switches, with one audit row each, and nothing more."""
    store_earlier(world)
    workflow_id = world.report().workflow_id
    (outcome,) = apply(world, make_verdict(workflow_id, level, action))
    assert isinstance(outcome, Done)
    assert outcome.result == {
        "workflow_id": str(workflow_id),
        "level": level,
        "switches": switches,
    }
    assert len(outcome.notices) == notices
    assert world.rows("SELECT name, is_on FROM switch ORDER BY name") == sorted(
        (name, True) for name in switches
    )
    assert world.rows("SELECT name, workflow_id FROM switch_change ORDER BY name") == sorted(
        (name, workflow_id) for name in switches
    )
    assert world.rows("SELECT level, reasons FROM verdict") == [(level, ["new_device", 'é,{}"'])]


def test_a_verdict_is_acted_on_once(world: World) -> None:
    """The same verdict again stores nothing, flips nothing and tells nobody."""
    verdict = make_verdict(world.report().workflow_id, "high", "deny")
    apply(world, verdict)
    world.rows("UPDATE switch SET is_on = false")
    (again,) = apply(world, verdict)
    assert isinstance(again, Done)
    assert (again.result["switches"], again.notices) == ([], ())
    assert world.rows("SELECT count(*) FROM switch WHERE is_on") == [(0,)]


def test_a_switch_that_is_on_is_not_flipped(world: World) -> None:
    """Two verdicts on one user in one list make one flip and one audit row."""
    one, two = world.report().workflow_id, world.report().workflow_id
    outcomes = apply(world, make_verdict(one, "medium"), make_verdict(two, "medium"))
    assert [o.result["switches"] for o in outcomes if isinstance(o, Done)] == [
        ["require_step_up"],
        [],
    ]
    assert world.rows("SELECT workflow_id FROM switch_change") == [(one,)]


def test_a_verdict_replaces_unscored_and_not_the_other_way_round(world: World) -> None:
    """A login that could not be scored takes its verdict later; a verdict is never lost."""
    workflow_id = world.report().workflow_id
    with world.begin() as tx:
        record_unscored([workflow_id], tx)
    assert world.rows("SELECT level, action, score FROM verdict") == [("unscored", "allow", None)]
    apply(world, make_verdict(workflow_id, "medium"))
    with world.begin() as tx:
        record_unscored([workflow_id], tx)
    assert world.rows("SELECT level FROM verdict") == [("medium",)]
    assert world.rows("SELECT count(*) FROM switch WHERE is_on") == [(1,)]


def test_a_verdict_without_its_login_is_refused_alone(world: World) -> None:
    """An erased login fails its own item; the others are stored."""
    outcomes = apply(world, make_verdict(uuid4()), make_verdict(world.report().workflow_id))
    assert isinstance(outcomes[0], Failed)
    assert isinstance(outcomes[0].error, Refused)
    assert isinstance(outcomes[1], Done)


def test_lists_of_verdicts_in_opposite_order_do_not_deadlock(world: World) -> None:
    """Concurrent lists about the same users, in opposite order, all commit."""
    _set_policy(world, lock_from=0)
    users = [f"user-{number}" for number in range(20)]
    lists = [
        [make_verdict(world.report(user).workflow_id, "high", "deny") for user in order]
        for order in (users, users[::-1], users, users[::-1])
    ]
    start = threading.Barrier(len(lists))

    def apply(verdicts: list[Verdict]) -> None:
        with world.begin() as tx:
            start.wait(10)
            apply_verdicts(verdicts, tx)

    with ThreadPoolExecutor(len(lists)) as threads:
        list(threads.map(apply, lists))
    assert world.rows("SELECT count(*) FROM switch_change") == [(40,)]


def test_a_failure_is_noted_once_a_generation(world: World) -> None:
    """The same callback twice leaves one row; a replay's failure leaves another."""
    workflow_id = world.report().workflow_id
    failures = [FailedStep(workflow_id, "chain", "s1"), FailedStep(uuid4(), "chain", "gone")]
    for generation in (1, 1, 2, 2):
        world.rows(
            "UPDATE workflow SET generation = %s WHERE id = %s RETURNING id",
            generation,
            workflow_id,
        )
        with world.begin() as tx:
            note_failed(failures, tx)
    assert world.rows("SELECT generation FROM failed_step ORDER BY generation") == [(1,), (2,)]


def _set_policy(world: World, **words: Any) -> None:
    document = replace(DEFAULT, **words).to_document()
    world.rows("UPDATE tenant SET policy = %s", json.dumps(document))


def _on(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT name FROM switch WHERE is_on ORDER BY name")


def test_a_tenants_own_scale_makes_the_level(world: World) -> None:
    """It is stored, told and acted on."""
    _set_policy(world, levels={"medium": 1.0, "high": 1.4})
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "low"))
    assert isinstance(outcome, Done)
    assert outcome.result["level"] == "high"
    assert len(outcome.notices) == 1
    assert world.rows("SELECT level, action, switches, notice_due, dry_run FROM verdict") == [
        ("high", "allow", ["require_step_up"], True, False)
    ]


def test_on_a_known_device_it_is_medium_at_most(world: World) -> None:
    """A login that is stored as one on a device that was seen before."""
    _set_policy(world, levels={"medium": 1.0, "high": 1.4})
    world.saved()
    known = world.saved()
    (outcome,) = apply(world, make_verdict(known.workflow_id))
    assert isinstance(outcome, Done)
    assert outcome.result["level"] == "medium"


def test_a_dry_run_records_and_does_nothing(world: World) -> None:
    """What would have been done stands beside the verdict."""
    _set_policy(world, is_dry_run=True, lock_from=0)
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    assert isinstance(outcome, Done)
    assert (outcome.result["switches"], outcome.notices) == ([], ())
    assert world.rows("SELECT count(*) FROM switch") == [(0,)]
    assert world.rows("SELECT count(*) FROM notice") == [(0,)]
    assert world.rows("SELECT switches, notice_due, dry_run FROM verdict") == [
        (["require_step_up", "locked"], True, True)
    ]


def _unlock(world: World, minutes_ago: float) -> None:
    world.rows(
        "UPDATE switch SET is_on = false, unlocked_at = now() - make_interval(secs => 60 * %s)",
        minutes_ago,
    )


def test_what_was_turned_off_stays_off_for_a_while(world: World) -> None:
    """An operator who has just unlocked somebody is not overruled, and no mail says so; later he is."""
    _set_policy(world, cooldown_seconds=3600.0, lock_from=0)
    apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    _unlock(world, 59)
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    assert isinstance(outcome, Done)
    assert (outcome.result["switches"], _on(world)) == ([], [])
    assert not _notice(world, outcome).switches
    _unlock(world, 61)
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    assert isinstance(outcome, Done)
    assert _on(world) == [("locked",), ("require_step_up",)]
    assert set(_notice(world, outcome).switches or ()) == {"locked", "require_step_up"}
    assert world.rows("SELECT count(*) FROM switch_change") == [(4,)]


def test_what_went_off_by_itself_may_go_on_at_once(world: World) -> None:
    """Nobody has decided that."""
    _set_policy(world, cooldown_seconds=3600.0, expire_seconds={"require_step_up": 60.0})
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    world.rows("UPDATE switch SET expires_at = now() - interval '1 second'")
    _expire(world)
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    assert _on(world) == [("require_step_up",)]


def test_a_verdict_waits_for_who_is_unlocking(world: World) -> None:
    """And then leaves it unlocked."""
    _set_policy(world, cooldown_seconds=3600.0)
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    verdict = make_verdict(world.report().workflow_id, "medium")
    with world.connect() as operator, ThreadPoolExecutor(1) as pool:
        operator.execute("UPDATE switch SET is_on = false, unlocked_at = now()")
        applied = pool.submit(apply, world, verdict)
        wait_until(lambda: world.rows(_WAITING) != [(0,)], 10)
        operator.commit()
        applied.result(10)
    assert _on(world) == []


_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def _notice(world: World, outcome: Done) -> Notice:
    with world.begin() as tx:
        notice = tx.notice(UUID(outcome.notices[0]))
    assert notice is not None
    return notice


def test_a_switch_whose_time_is_over_goes_on_with_a_row_for_each_flip(world: World) -> None:
    """Though nobody has swept it up: on, expired, on again."""
    _set_policy(world, expire_seconds={"require_step_up": 3600.0})
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    world.rows("UPDATE switch SET expires_at = now() - interval '1 second'")
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "medium"))
    assert isinstance(outcome, Done)
    assert outcome.result["switches"] == ["require_step_up"]
    assert world.rows("SELECT is_on FROM switch_change ORDER BY id") == [(True,), (False,), (True,)]


@pytest.mark.parametrize("order", [1, -1], ids=["real first", "unscored first"])
def test_the_real_one_of_a_list_counts(world: World, order: int) -> None:
    """What is stored is acted on, whatever stands beside it."""
    store_earlier(world)
    workflow_id = world.report().workflow_id
    verdicts = [make_verdict(workflow_id, "high", "deny"), unscored(workflow_id)][::order]
    outcomes = apply(world, *verdicts)
    assert world.rows("SELECT level FROM verdict") == [("high",)]
    assert _on(world) == [("locked",), ("require_step_up",)]
    assert {outcome.result["level"] for outcome in outcomes if isinstance(outcome, Done)} == {
        "high"
    }
    assert world.rows("SELECT count(*) FROM notice") == [(1,)]


def test_a_switch_expires_once_and_says_so(world: World) -> None:
    """Before its time nothing happens; afterwards it is off, with its row in the audit trail."""
    _set_policy(world, expire_seconds={"require_step_up": 3600.0}, lock_from=0)
    apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    assert _expire(world) == 0
    world.rows("UPDATE switch SET expires_at = expires_at - interval '61 minutes'")
    assert (_expire(world), _expire(world)) == (1, 0)
    assert _on(world) == [("locked",)]
    assert world.rows("SELECT name, is_on, reason FROM switch_change ORDER BY id DESC LIMIT 1") == [
        ("require_step_up", False, "expired")
    ]


def test_another_verdict_begins_the_time_anew(world: World) -> None:
    """Without another flip: it is on. What somebody has turned on by hand stays without an end."""
    _set_policy(world, expire_seconds={"require_step_up": 3600.0})
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    world.rows("UPDATE switch SET expires_at = now() + interval '1 minute'")
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "medium"))
    assert isinstance(outcome, Done)
    assert outcome.result["switches"] == []
    left = "SELECT count(*) FROM switch WHERE expires_at > now() + interval '59 minutes'"
    assert world.rows(left) == [(1,)]
    assert world.rows("SELECT count(*) FROM switch_change") == [(1,)]
    world.rows("UPDATE switch SET expires_at = NULL, turned_on_by = NULL")
    apply(world, make_verdict(world.report().workflow_id, "medium"))
    assert world.rows("SELECT expires_at FROM switch") == [(None,)]


@pytest.mark.parametrize(
    ("told", "channels"),
    [
        ("user", ["email"]),
        ("both", ["email", "webhook"]),
        ("application", ["webhook"]),
        ("nobody", []),
    ],
)
def test_who_is_to_hear_of_it_does(world: World, told: Any, channels: list[str]) -> None:
    """A notice on each channel that the policy names, and on no other."""
    world.give_webhook("https://example.org/hook")
    _set_policy(world, tell={"new_device": "nobody", "verdict": told})
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "high"))
    assert isinstance(outcome, Done)
    assert len(outcome.notices) == len(channels)
    assert world.rows("SELECT channel FROM notice ORDER BY channel") == [(c,) for c in channels]


def test_who_is_never_locked_is_told_all_the_same(world: World) -> None:
    """And asked for a second factor."""
    _set_policy(world, never_lock=frozenset({"ada"}), lock_from=0)
    apply(world, make_verdict(world.report().workflow_id, "high", "deny"))
    apply(world, make_verdict(world.report("eve").workflow_id, "high", "deny"))
    assert world.rows("SELECT user_id FROM switch WHERE is_on AND name = 'locked'") == [("eve",)]
    assert world.rows("SELECT count(*) FROM notice") == [(2,)]


def _deny(world: World, **facts: Any) -> list[str]:
    """What is turned on by a verdict that would lock."""
    login = world.saved(user_agent=SAFARI, **facts)
    (outcome,) = apply(world, make_verdict(login.workflow_id, "high", "deny"))
    assert isinstance(outcome, Done)
    assert len(outcome.notices) == 1
    switches: list[str] = outcome.result["switches"]
    return switches


def test_a_new_accounts_first_logins_are_asked_and_not_locked(world: World) -> None:
    """The second, from a new phone abroad, rests on the first alone; it is told of all the same. The fourth locks."""
    store_earlier(world, logins=1)
    assert _deny(world) == ["require_step_up"]
    assert world.rows("SELECT switches FROM verdict") == [(["require_step_up"],)]
    store_earlier(world, "eve", logins=2)
    assert _deny(world, user_id="eve") == ["require_step_up"]
    store_earlier(world, "bob", logins=3)
    assert _deny(world, user_id="bob") == ["require_step_up", "locked"]


def test_imported_logins_are_earlier_ones(world: World) -> None:
    """They are what the score rests on, too."""
    store_earlier(world, history=True)
    assert _deny(world) == ["require_step_up", "locked"]


def test_only_the_users_own_logins_from_before_are_earlier_ones(world: World) -> None:
    """Not what came after the login that the verdict is on, which may be late, nor somebody else's of the same name."""
    store_earlier(world, "eve")
    for hours in (1, 2, 3):
        world.saved(occurred_at=AT + timedelta(hours=hours))
    world.rows("INSERT INTO tenant (id, name) VALUES ('bank', 'The Bank')")
    store_earlier(world)
    world.rows("UPDATE login SET tenant_id = 'bank' WHERE user_id = 'ada' AND occurred_at < %s", AT)
    assert _deny(world) == ["require_step_up"]


@pytest.mark.parametrize(("logins", "switches"), [(0, ["locked"]), (1, ["require_step_up"])])
def test_a_policy_says_how_many_earlier_logins_there_must_be(
    world: World, logins: int, switches: list[str]
) -> None:
    """None, for one that would rather lock a stranger out."""
    actions = {**DEFAULT.actions, "high": frozenset({"notify"})}
    _set_policy(world, lock_from=logins, actions=actions)
    assert _deny(world) == switches


def test_a_policy_of_an_earlier_release_asks_for_as_many_as_the_usual_one(world: World) -> None:
    """It says nothing of them."""
    document = DEFAULT.to_document()
    del document["lock_from"]
    world.rows("UPDATE tenant SET policy = %s", json.dumps(document))
    assert _deny(world) == ["require_step_up"]
    store_earlier(world, "bob")
    assert _deny(world, user_id="bob") == ["require_step_up", "locked"]


def _expire(world: World) -> int:
    with world.begin() as tx:
        return tx.expire_switches()
