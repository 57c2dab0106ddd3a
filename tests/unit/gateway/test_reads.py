"""How the ledger's rows are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.answers import Step, WorkflowState
from services.gateway.reads import Cursor, shown_state


def step(state: str) -> Step:
    values: dict[str, object] = dict.fromkeys(Step.model_fields)
    counts = dict.fromkeys(("attempts", "retries", "redeliveries"), 0)
    lists: dict[str, list[str]] = {name: [] for name in ("after", "children", "callbacks")}
    return Step.model_validate(
        values | counts | lists | {"id": "s", "state": state, "planned": True}
    )


@pytest.mark.parametrize(
    ("stored", "steps", "shown"),
    [
        ("accepted", ["ready", "planned"], "accepted"),
        ("accepted", [], "accepted"),
        ("accepted", ["done", "ready"], "running"),
        ("done", ["done"], "done"),
        ("failed", ["done", "failed", "blocked"], "failed"),
        ("dead", ["dead"], "dead"),
    ],
)
def test_running_is_an_accepted_workflow_that_has_begun(
    stored: WorkflowState, steps: list[str], shown: str
) -> None:
    """The states shown are exclusive, and `running` is one of them."""
    assert shown_state(stored, [step(state) for state in steps]) == shown


def test_a_cursor_survives_its_encoding() -> None:
    """The next page begins where the last one ended, to the microsecond."""
    cursor = Cursor(datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC), uuid4())
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text())
def test_a_made_up_cursor_is_refused(text: str) -> None:
    """Whatever a caller sends as cursor, the answer is ValueError at worst."""
    with pytest.raises(ValueError):  # noqa: PT011  any of its kinds is told the same
        Cursor.decode(text)
