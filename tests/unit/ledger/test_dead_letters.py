"""What is read of a dead letter, whatever its publisher has put into it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.ledger.dead_letters import _letter


def _received(**headers: Any) -> Any:
    return SimpleNamespace(
        headers={"id": "a step", "task": "try.it", **headers},
        body=b"[[], {}, {}]",
        properties={"content_type": "application/json"},
        delivery_tag=1,
    )


def test_a_good_one_is_readable() -> None:
    """As Celery's protocol 2 has it."""
    letter = _letter(_received(), "db_writes", None)
    assert (letter.id, letter.task, letter.unreadable) == ("a step", "try.it", None)


@pytest.mark.parametrize("name", ["id", "task"])
@pytest.mark.parametrize("value", [5, True, ["a"], {"a": 1}, "", "x" * 256])
def test_who_names_no_step_and_task_cannot_be_replayed(name: str, value: object) -> None:
    """Replayed, it would come back again and again, and nobody could give it up."""
    letter = _letter(_received(**{name: value}), "db_writes", None)
    assert letter.message is None
    assert letter.unreadable is not None


@pytest.mark.parametrize("deaths", [5, "x", ["x"], [5], {}, [[]], None])
def test_a_made_up_death_tells_nothing(deaths: object) -> None:
    """The list of letters is there all the same."""
    letter = _letter(_received(**{"x-death": deaths}), "db_writes", None)
    assert (letter.cause, letter.died_at) == ("unknown", None)
