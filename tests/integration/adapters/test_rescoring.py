"""Which logins without a score are asked about again, and when; on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from services.adapters.postgres import PostgresTransaction
from services.domain.outcome import Done, VerdictStored
from services.handlers.apply_verdict import record_unscored
from services.handlers.score_login import unscored
from tests.integration.adapters.conftest import World
from tests.integration.adapters.judging import apply, make_verdict


def _claim(world: World, most: int = 10) -> dict[UUID, int]:
    with world.connect() as connection:
        return dict(PostgresTransaction(connection).claim_unscored(most))


def _unscored(world: World, minutes_ago: float = 2) -> UUID:
    workflow_id = world.saved().workflow_id
    apply(world, unscored(workflow_id))
    _make_older(world, minutes_ago)
    return workflow_id


def _make_older(world: World, minutes: float) -> None:
    """Of the youngest."""
    world.rows(
        "UPDATE verdict SET stored_at = stored_at - age, ask_at = ask_at - age"
        " FROM (SELECT make_interval(secs => 60 * %s) AS age) AS it"
        " WHERE stored_at = (SELECT max(stored_at) FROM verdict)",
        minutes,
    )


def test_logins_without_a_score_are_asked_about_again(world: World) -> None:
    """Those that have waited longest first; none that is too young."""
    third, first, second = _unscored(world, 2), _unscored(world, 60), _unscored(world, 3)
    _unscored(world, 0.5)
    assert _claim(world, most=2) == {first: 1, second: 1}
    assert _claim(world) == {third: 1}
    assert _claim(world) == {}


def test_each_time_it_is_left_alone_for_longer(world: World) -> None:
    """One, two, four minutes and so on to twelve hours, for a week: some twenty times."""
    workflow_id = _unscored(world)
    pauses: list[float] = []
    while _claim(world):
        [(pause,)] = world.rows("SELECT extract(epoch FROM ask_at - now())::float8 FROM verdict")
        if pause is None:
            break
        pauses.append(pause)
        world.rows(
            "UPDATE verdict SET stored_at = stored_at - (ask_at - now()), ask_at = now() WHERE workflow_id = %s",
            workflow_id,
        )
    assert [round(pause / 60) for pause in pauses[:4]] == [2, 4, 8, 16]
    assert round(max(pauses) / 3600) == 12
    assert 15 < len(pauses) < 30
    assert sum(pauses) < 7 * 86400


def test_two_that_look_at_once_take_different_ones(world: World) -> None:
    """Each login is asked about by one of them."""
    for _ in range(8):
        _unscored(world)
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda _: list(_claim(world, most=3)), range(4)))
    taken = [workflow_id for each in claimed for workflow_id in each]
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("step", ["score", "apply"])
def test_what_is_still_asked_about_is_not_asked_about_again(world: World, step: str) -> None:
    """Neither while the API is asked nor while its answer waits to be acted on."""
    workflow_id = _unscored(world)
    assert _claim(world) == {workflow_id: 1}
    world.rows("UPDATE verdict SET ask_at = now()")
    name = f"rescore-{workflow_id}-1-{step}"
    world.rows("INSERT INTO step (id, state) VALUES (%s, 'ready')", name)
    assert _claim(world) == {}
    world.rows("UPDATE step SET state = 'done', finished_at = now()")
    assert _claim(world) == {workflow_id: 2}


def test_what_the_api_refuses_to_judge_is_left_alone(world: World) -> None:
    """It has been asked, and would answer the same."""
    with world.begin() as tx:
        record_unscored([world.saved().workflow_id, _unscored(world)], tx)
    _make_older(world, 5)
    assert _claim(world) == {}


def test_no_more_are_asked_about_than_may_be_under_way(world: World) -> None:
    """As where a task is paused: each try would leave one more behind."""
    for _ in range(3):
        _unscored(world)
    world.rows(
        "INSERT INTO step (id, task, state) VALUES ('a', 'external_api.score_login', 'parked'),"
        " ('b', 'db_writes.apply_verdict', 'retrying'), ('c', 'maintenance.probe', 'ready')"
    )
    assert len(_claim(world, most=3)) == 1


def test_while_the_breaker_is_open_one_is_asked_about(world: World) -> None:
    """And that only when it lets a probe through; who holds it open holds it."""
    for _ in range(3):
        _unscored(world)
    world.rows(
        "INSERT INTO breaker (name, failures, open_until) VALUES ('outlier_api', 5, now() + interval '9 s')"
    )
    assert _claim(world) == {}
    world.rows("UPDATE breaker SET open_until = now() - interval '1 s', held_by = 'ada'")
    assert _claim(world) == {}
    world.rows("UPDATE breaker SET held_by = NULL")
    assert len(_claim(world)) == 1
    world.rows("UPDATE breaker SET failures = 0, open_until = NULL")
    assert len(_claim(world)) == 2


def test_a_late_verdict_is_acted_on_once_and_says_so(world: World) -> None:
    """In the audit trail and in the notice; no time is taken from it."""
    workflow_id = _unscored(world)
    verdict = make_verdict(workflow_id, "high", "deny")
    (outcome,) = apply(world, verdict)
    assert isinstance(outcome, Done)
    assert outcome.effects == (VerdictStored("high", None),)
    assert world.rows("SELECT DISTINCT reason FROM switch_change") == [
        ("level high, action deny, late",)
    ]
    with world.begin() as tx:
        notice = tx.notice(UUID(outcome.notices[0]))
    assert notice is not None
    assert notice.is_late
    (again,) = apply(world, verdict)
    assert isinstance(again, Done)
    assert (again.notices, again.effects) == ((), ())


def test_a_verdict_in_time_is_not_late(world: World) -> None:
    """The negative of the one above."""
    (outcome,) = apply(world, make_verdict(world.report().workflow_id, "high"))
    assert isinstance(outcome, Done)
    with world.begin() as tx:
        notice = tx.notice(UUID(outcome.notices[0]))
    assert notice is not None
    assert not notice.is_late
