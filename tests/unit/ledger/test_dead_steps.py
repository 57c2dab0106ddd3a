"""Which steps a selection takes, what a stale letter is, and how lists are cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.domain.errors import Refused, Unavailable
from services.ledger.dead_letters import Letter
from services.ledger.dead_steps import (
    Dead,
    GivenUpReason,
    Selection,
    error_text,
    in_batches,
    is_stale,
)
from services.ledger.reconciler import _GIVEN_UP
from services.runner.giving_up import Untraceable, reason_of

NOW = datetime.now(UTC)
WORKFLOW = uuid4()
DEAD = Dead(
    "s1", "db_writes", "db_writes.save_event", "ready", "rejected", NOW - timedelta(hours=2),
    workflow_id=WORKFLOW, user_id="ada",
)  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(ids=("s1", "s2")), True),
        (Selection(ids=("s2",)), False),
        (Selection(queues=("db_writes",)), True),
        (Selection(queues=()), False),
        (Selection(task="db_writes.save_event"), True),
        (Selection(task="other"), False),
        (Selection(reason="rejected"), True),
        (Selection(reason="bug"), False),
        (Selection(user="ada", workflow=WORKFLOW), True),
        (Selection(user="bob"), False),
        (Selection(workflow=UUID(int=0)), False),
        (Selection(older_than=3600), True),
        (Selection(older_than=3 * 3600), False),
        (Selection(younger_than=3 * 3600), True),
        (Selection(younger_than=3600), False),
        (Selection(ids=("s1",), reason="bug"), False),
    ],
)
def test_every_filter_must_hold(selection: Selection, taken: bool) -> None:
    """Those that are not given take everything."""
    assert selection.takes(DEAD) is taken


def test_an_age_takes_nothing_of_unknown_age() -> None:
    """Neither as old nor as young."""
    unknown = Dead("s", "q", None, "unknown", "rejected", None)
    assert not Selection(older_than=1).takes(unknown)
    assert not Selection(younger_than=1).takes(unknown)


def _letter(generation: int = 1) -> Letter:
    return Letter("s1", "q", None, generation, "rejected", None, None, None, {}, b"", (None, 0))


@pytest.mark.parametrize(
    ("row", "generation", "stale"),
    [
        (None, 1, False),
        ({"state": "done"}, 1, True),
        ({"state": "dead"}, 1, False),
        ({"state": "dead", "dropped_at": NOW}, 1, True),
        ({"state": "ready"}, 1, False),
        ({"state": "ready", "generation": 2}, 1, True),
        ({"state": "ready", "generation": 2}, 2, False),
        ({"state": "ready", "generation": 2, "has_message": False}, 1, False),
        ({"state": "failed", "generation": 2}, 1, False),
    ],
)
def test_a_letter_is_stale_when_its_step_needs_it_no_more(
    row: dict[str, Any] | None, generation: int, stale: bool
) -> None:
    """Never while it may be the only copy."""
    whole = {"generation": 1, "dropped_at": None, "has_message": True} | row if row else None
    assert is_stale(_letter(generation), whole) is stale


def test_the_steps_of_a_workflow_stay_in_one_list() -> None:
    """However far apart they were given up: its generation begins once."""
    flows = [uuid4() for _ in range(3)]
    dead = [
        Dead(f"{number}-{index}", "q", None, "dead", None, None, workflow_id=flow)
        for number in range(2)
        for index, flow in enumerate(flows)
    ]
    alone = Dead("alone", "q", None, "dead", None, None)
    batches = [[each.id for each in batch] for batch in in_batches([*dead, alone], 3)]
    assert batches == [["0-0", "1-0"], ["0-1", "1-1"], ["0-2", "1-2", "alone"]]
    assert list(in_batches([], 3)) == []


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, None),
        ('{"exc_type": "ValueError", "exc_message": ["no\\n way", 7]}', "ValueError: no way 7"),
        ('{"exc_type": "ValueError", "exc_message": "no"}', "ValueError: no"),
        ('{"exc_type": "Val', '{"exc_type": "Val'),
        ("[1]", "[1]"),
    ],
)
def test_an_error_is_one_line(result: str | None, text: str | None) -> None:
    """Also one that was cut off, or is none."""
    assert error_text(result) == text


def test_every_reason_has_its_word() -> None:
    """What the runner writes and what an operator may ask for are the same words."""
    kinds: list[type[Untraceable]] = [Untraceable]
    for kind in kinds:
        kinds += kind.__subclasses__()
    written = {kind.reason for kind in kinds} | {
        reason_of(error) for error in (Refused("no"), Unavailable("away"), ValueError("bug"))
    }
    written.add(str(_GIVEN_UP.reason))

    # What the broker says of letters of which the ledger knows nothing.
    of_the_broker = {"rejected", "delivery_limit", "unknown"}
    assert written | of_the_broker == set(GivenUpReason)
