"""What .ci/run takes in turns: nothing that has to have its day is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

from tests.compose.test_game_days import ALERTS as IN_CONTAINERS
from tests.gamedays import table
from tests.gamedays.faults import GAME_DAYS
from tests.hosts.faults import HOST_DAYS

TURNS = (Path(__file__).resolve().parents[2] / ".ci" / "run").read_text()


def days_of(variable: str) -> list[str]:
    """The alerts that the days of one kind name, in their order."""
    named = re.findall(rf'{variable}="((?:\w+ or )*\w+)"', TURNS)
    return [alert for day in named for alert in day.split(" or ") if not alert.startswith("test_")]


def test_each_alert_has_its_game_day() -> None:
    """On the local cluster, in containers those that have a day there, on hosts those that were seen to pass."""
    assert sorted(days_of("alerts")) == sorted(GAME_DAYS)
    # Those of hosts alone stand in the first table.
    only_hosts = table.rows().keys() - GAME_DAYS.keys()
    seen = table.rows("hosts").keys() | (only_hosts & HOST_DAYS.keys())
    assert sorted(days_of("days")) == sorted(seen)
    assert seen == HOST_DAYS.keys()
    assert set(IN_CONTAINERS) <= set(days_of("select"))


def test_what_no_alert_is_about_has_its_days_too() -> None:
    """Each slow suite of the Makefile but for those that only measure, or go on for hours."""
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    suites = set(
        re.findall(r"^(test-\w+|game-days|quiet-days|operations):", makefile, re.MULTILINE)
    )
    assert {suite for suite in suites if f"make {suite}" not in TURNS} == {
        "test-slow",
        "test-rabbitmq4",
    }
