"""How operators name ages and queues."""

from __future__ import annotations

import pytest
import typer

from routing.load import load
from services.cli.amounts import counted, seconds_of, summed
from services.cli.desk import queues_of
from services.domain.errors import ConfigurationError

TOPOLOGY = load()


@pytest.mark.parametrize(
    ("age", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800), ("0s", 0)]
)
def test_an_age_has_a_unit(age: str, seconds: float) -> None:
    """Seconds, minutes, hours or days."""
    assert seconds_of(age) == seconds


@pytest.mark.parametrize(
    "age", ["", "10", "1w", "-1h", "h", "1h30m", "1h ", "9" * 12 + "d", "9" * 400 + "s"]
)
def test_anything_else_is_no_age(age: str) -> None:
    """The complaint shows how to write one."""
    with pytest.raises(typer.BadParameter, match="write 90s, 10m, 1h or 2d"):
        seconds_of(age)


def test_queues_of_a_pool_and_by_name() -> None:
    """Both filters hold together."""
    assert queues_of(TOPOLOGY, "db_writes", None) == ("db_writes",)
    assert queues_of(TOPOLOGY, None, "maintenance") == ("maintenance",)
    assert queues_of(TOPOLOGY, "db_writes", "maintenance") == ()
    assert queues_of(TOPOLOGY, None, None) == tuple(TOPOLOGY.queues)
    with pytest.raises(ConfigurationError, match="no queue 'x': use one of"):
        queues_of(TOPOLOGY, None, "x")


def test_sums_read_like_sentences() -> None:
    """The commonest first; one is not many."""
    assert summed(["a", "b", None, "b"]) == "b 2, a 1, unknown task 1"
    assert (counted(1, "step"), counted(1200, "step")) == ("1 step", "1,200 steps")
