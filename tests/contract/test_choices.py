"""What `make up` was told once holds at the next one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local import choices
from deploy.local.__main__ import _parser
from deploy.local.choices import NONE, Choices
from deploy.local.process import ClusterError

EARLIER = Choices(
    {"db_writes": 2, "device_checks": 3}, "/etc/receivers.yml", "http://d", "http://r"
)


def test_what_is_not_said_stays() -> None:
    """Pools one by one, and whatever has no new value."""
    later = EARLIER.and_now(Choices({"db_writes": 1}, runbooks_url="http://other"))

    assert later == Choices(
        {"db_writes": 1, "device_checks": 3}, "/etc/receivers.yml", "http://d", "http://other"
    )
    assert EARLIER.and_now(Choices()) == EARLIER


def test_a_choice_is_taken_back() -> None:
    """By a word, for an empty variable is one that nobody set."""
    later = EARLIER.and_now(Choices({}, NONE, NONE, NONE))

    assert later == Choices({"db_writes": 2, "device_checks": 3})
    assert later.receivers is None


def test_choices_are_read_as_they_were_kept(tmp_path: Path) -> None:
    """By their owner alone: an address may hold a password."""
    path = tmp_path / "choices.json"
    assert choices.read(path) == Choices()

    choices.keep(path, EARLIER)

    assert choices.read(path) == EARLIER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"processes": {}, "alert_receivers": ""}'])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    """With what to do about it."""
    path = tmp_path / "choices.json"
    path.write_text(text)

    with pytest.raises(ClusterError, match=r"choices\.json is damaged .*delete it"):
        choices.read(path)


def test_they_are_said_as_the_variables_of_make() -> None:
    """What differs from a cluster for which nothing was chosen."""
    assert Choices({"db_writes": 1}).words() == []
    assert EARLIER.and_now(Choices({"device_checks": 1})).words() == [
        'PROCESSES="db_writes=2"',
        "ALERT_RECEIVERS=/etc/receivers.yml",
        "DASHBOARDS_URL=http://d",
        "RUNBOOKS_URL=http://r",
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("", ""), (NONE, NONE), ("receivers.yml", str(Path.cwd() / "receivers.yml"))],
)
def test_a_file_is_found_from_everywhere(given: str, kept: str) -> None:
    """The next `up` may be called in another directory."""
    options = _parser().parse_args(["up", "--alert-receivers", given])

    assert options.alert_receivers == kept
