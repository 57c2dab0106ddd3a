"""What a policy makes of a verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from services.domain.model import Verdict
from services.domain.policy import DEFAULT, Decision, Policy, decide, disowned

VERDICT = Verdict(UUID(int=1), "low", "allow", 0.5, (), "m1", "r")


def _verdict(level: Any, action: Any = "allow", score: float | None = 0.5) -> Verdict:
    return replace(VERDICT, level=level, action=action, score=score)


@pytest.mark.parametrize(
    ("level", "action", "switches", "is_notice_due"),
    [
        ("low", "allow", (), False),
        ("medium", "challenge", ("require_step_up",), False),
        ("high", "challenge", ("require_step_up",), True),
        ("high", "deny", ("require_step_up", "locked"), True),
        ("low", "deny", ("locked",), True),
        ("unscored", "deny", (), False),
    ],
)
def test_without_a_policy_the_api_is_believed(
    level: str, action: str, switches: tuple[str, ...], is_notice_due: bool
) -> None:
    """Level and action each do their part; without a score nothing is done."""
    found = decide(DEFAULT, _verdict(level, action), "ada", earlier_logins=3)
    assert (found.switches, found.is_notice_due) == (switches, is_notice_due)


@pytest.mark.parametrize(
    ("score", "level"),
    [(0.99, "low"), (1.0, "medium"), (4.99, "medium"), (5.0, "high"), (None, "medium")],
)
def test_a_policy_has_its_own_scale(score: float | None, level: str) -> None:
    """From each score on; an answer without one keeps the level that it came with."""
    policy = Policy(levels={"medium": 1.0, "high": 5.0})
    assert decide(policy, _verdict("medium", score=score), "ada").level == level


def test_who_moves_is_no_stranger_on_his_own_device() -> None:
    """Whatever the score says: high would be for somebody else."""
    policy = Policy(levels={"medium": 0.5, "high": 1.0})
    verdict = _verdict("low", score=7.0)
    assert decide(policy, verdict, "ada", is_device_known=True).level == "medium"
    assert decide(policy, verdict, "ada").level == "high"


def test_somebody_has_to_be_left_who_can_unlock() -> None:
    """The rest of what is due is done to them as well."""
    policy = Policy(never_lock=frozenset({"root"}), lock_from=0)
    assert decide(policy, _verdict("high", "deny"), "root") == Decision(
        "high", ("require_step_up",), is_notice_due=True
    )
    assert "locked" in decide(policy, _verdict("high", "deny"), "ada").switches


def test_who_is_never_locked_is_asked_for_a_second_factor_instead() -> None:
    """A policy that locks and asks nobody leaves no account open that unlocks the others."""
    policy = Policy(
        actions={"high": frozenset({"locked"}), "deny": frozenset({"locked"})},
        never_lock=frozenset({"root"}),
        lock_from=0,
    )
    for verdict in (_verdict("high"), _verdict("low", "deny")):
        assert decide(policy, verdict, "root").switches == ("require_step_up",)
        assert decide(policy, verdict, "ada").switches == ("locked",)


@pytest.mark.parametrize(
    ("earlier_logins", "switches"),
    [
        (0, ("require_step_up",)),
        (2, ("require_step_up",)),
        (3, ("require_step_up", "locked")),
        (100, ("require_step_up", "locked")),
    ],
)
def test_who_has_hardly_signed_in_before_is_asked_and_not_locked(
    earlier_logins: int, switches: tuple[str, ...]
) -> None:
    """A score that rests on next to nothing keeps nobody out; the user is told all the same."""
    found = decide(DEFAULT, _verdict("high", "deny"), "ada", earlier_logins=earlier_logins)
    assert found == Decision("high", switches, is_notice_due=True)


def test_what_would_lock_at_once_asks_where_nothing_else_would() -> None:
    """With so few earlier logins a policy that only locks would do nothing."""
    policy = Policy(actions={"deny": frozenset({"locked"})}, lock_from=1)
    assert decide(policy, _verdict("low", "deny"), "ada").switches == ("require_step_up",)
    assert decide(policy, _verdict("low", "deny"), "ada", earlier_logins=1).switches == ("locked",)


def test_a_policy_that_wants_nothing_does_nothing() -> None:
    """Also when the API says deny."""
    policy = Policy(actions={"deny": frozenset(), "high": frozenset({"locked"})}, lock_from=0)
    assert decide(policy, _verdict("low", "deny"), "ada") == Decision("low", (), False)
    assert decide(policy, _verdict("high", "deny"), "ada").switches == ("locked",)


@pytest.mark.parametrize(
    ("policy", "switches"),
    [
        (DEFAULT, ("locked",)),
        (Policy(never_lock=frozenset({"ada"})), ("require_step_up",)),
        (Policy(actions={"disowned": frozenset({"require_step_up"})}), ("require_step_up",)),
        (Policy(actions={}), ("locked",)),
        (Policy(is_dry_run=True), ("locked",)),
        (Policy(lock_from=100), ("locked",)),
    ],
)
def test_a_sign_in_that_is_disowned_has_its_answer(
    policy: Policy, switches: tuple[str, ...]
) -> None:
    """Locked, or asked for a second factor where nobody could unlock."""
    assert disowned(policy, "ada") == switches


def test_a_policy_comes_back_from_where_it_is_kept() -> None:
    """JSON holds all of it."""
    policy = Policy(
        levels={"medium": 0.5, "high": 1.0},
        actions={"deny": frozenset({"notify"})},
        never_lock=frozenset({"root", "ops"}),
        lock_from=0,
        cooldown_seconds=60.0,
        expire_seconds={"locked": 3600.0},
        tell={"new_device": "nobody", "verdict": "both", "lockdown": "application"},
        mails_per_hour=3,
        digest_hour=0,
        is_dry_run=True,
    )
    for each in (policy, DEFAULT):
        assert Policy.from_document(json.loads(json.dumps(each.to_document()))) == each


def test_a_policy_of_another_release_is_read() -> None:
    """What an earlier one did not know is as without a policy; what a later one adds is passed over."""
    document = replace(DEFAULT, lock_from=7).to_document() | {"of_a_later_release": [1]}
    assert Policy.from_document(document).lock_from == 7
    del document["lock_from"]
    assert Policy.from_document(document) == DEFAULT
