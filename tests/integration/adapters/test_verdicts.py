"""Storing verdicts and acting on them, on a real PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.domain.errors import Refused
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed, Outcome
from services.handlers.apply_verdict import apply_verdicts, record_unscored
from services.handlers.note_failed import note_failed
from services.handlers.ports import FailedStep
from tests.integration.adapters.conftest import World


def _verdict(workflow_id: UUID, level: Any = "low", action: Any = "allow") -> Verdict:
    return Verdict(workflow_id, level, action, 1.5, ("new_device", 'é,{}"'), "m1", str(workflow_id))


def _apply(world: World, *verdicts: Verdict) -> list[Outcome]:
    with world.begin() as tx:
        return list(apply_verdicts(verdicts, tx))


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
    workflow_id = world.report().workflow_id
    (outcome,) = _apply(world, _verdict(workflow_id, level, action))
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
    verdict = _verdict(world.report().workflow_id, "high", "deny")
    _apply(world, verdict)
    world.rows("UPDATE switch SET is_on = false")
    (again,) = _apply(world, verdict)
    assert isinstance(again, Done)
    assert (again.result["switches"], again.notices) == ([], ())
    assert world.rows("SELECT count(*) FROM switch WHERE is_on") == [(0,)]


def test_a_switch_that_is_on_is_not_flipped(world: World) -> None:
    """Two verdicts on one user in one list make one flip and one audit row."""
    one, two = world.report().workflow_id, world.report().workflow_id
    outcomes = _apply(world, _verdict(one, "medium"), _verdict(two, "medium"))
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
    _apply(world, _verdict(workflow_id, "medium"))
    with world.begin() as tx:
        record_unscored([workflow_id], tx)
    assert world.rows("SELECT level FROM verdict") == [("medium",)]
    assert world.rows("SELECT count(*) FROM switch WHERE is_on") == [(1,)]


def test_a_verdict_without_its_login_is_refused_alone(world: World) -> None:
    """An erased login fails its own item; the others are stored."""
    outcomes = _apply(world, _verdict(uuid4()), _verdict(world.report().workflow_id))
    assert isinstance(outcomes[0], Failed)
    assert isinstance(outcomes[0].error, Refused)
    assert isinstance(outcomes[1], Done)


def test_lists_of_verdicts_in_opposite_order_do_not_deadlock(world: World) -> None:
    """Concurrent lists about the same users, in opposite order, all commit."""
    users = [f"user-{number}" for number in range(20)]
    lists = [
        [_verdict(world.report(user).workflow_id, "high", "deny") for user in order]
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
