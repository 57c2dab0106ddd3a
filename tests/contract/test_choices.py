"""What `make up` was told once holds at the next one."""

from __future__ import annotations

import argparse
import stat
from pathlib import Path

import pytest

from deploy.local import choices, cluster, monitoring
from deploy.local.__main__ import _parser, parse_counts, parse_url
from deploy.local.choices import NONE, Choices
from deploy.local.layout import Layout
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


_OTHERS = '"alert_receivers": "", "dashboards_url": "", "runbooks_url": ""'


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"processes": {}, "alert_receivers": ""}'),
        *(f'{{"processes": {wrong}, {_OTHERS}}}' for wrong in ('{"db_writes": "x"}', "[]", "null")),
    ],
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    """With what to do about it."""
    path = tmp_path / "choices.json"
    path.write_text(text)

    with pytest.raises(ClusterError, match=r"choices\.json is damaged .*delete it"):
        choices.read(path)


RECEIVERS = """
page:
  webhook_configs: [{url: "http://127.0.0.1:1/"}]
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "cluster")
    found.prepare()
    return found


@pytest.mark.parametrize(
    "text",
    ["page: {foo_configs: []}", "page: {webhook_configs: [{}]}", "1: {}", "page: \udcff", None],
)
def test_receivers_that_alertmanager_would_not_take_are_refused(
    text: str | None, layout: Layout, tmp_path: Path
) -> None:
    """Before anything is kept or changed."""
    (tmp_path / "good.yml").write_text(RECEIVERS)
    good = Choices(alert_receivers=str(tmp_path / "good.yml"))
    assert cluster._chosen(layout, good, print) == good
    if text is not None:
        (tmp_path / "bad.yml").write_text(text, errors="surrogateescape")

    with pytest.raises(ClusterError, match=r"bad\.yml"):
        cluster._chosen(layout, Choices(alert_receivers=str(tmp_path / "bad.yml")), print)

    assert choices.read(layout.choices) == good


def test_it_is_said_what_alertmanager_does_not_like(layout: Layout, tmp_path: Path) -> None:
    """In its own words."""
    file = tmp_path / "receivers.yml"
    file.write_text("page: {foo_configs: []}")

    with pytest.raises(ClusterError, match=r"receivers\.yml: Alertmanager .*foo_configs.*or none"):
        monitoring.check(layout, file)


def test_who_was_told_is_told_while_the_file_is_gone(layout: Layout, tmp_path: Path) -> None:
    """Sign-ins are watched all the same, and it is said."""
    file = tmp_path / "receivers.yml"
    file.write_text(RECEIVERS)
    given = Choices(alert_receivers=str(file))
    cluster._chosen(layout, given, print)
    file.unlink()
    said: list[str] = []

    found = cluster._chosen(layout, Choices({"db_writes": 2}), said.append)

    assert "webhook_configs" in monitoring.alerting(found.receivers)
    assert [line for line in said if "cannot be read" in line and "or none" in line]
    assert choices.read(layout.choices) == Choices({"db_writes": 2}, str(file))


@pytest.mark.parametrize("text", ["None", "not a url's", "http://", "javascript:x", 'http://x/"'])
def test_an_address_is_one(text: str) -> None:
    """A link is for people to follow."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"grafana\.example\.org"):
        parse_url(text)
    assert parse_url("https://grafana.example.org/x") == "https://grafana.example.org/x"


def test_all_numbers_are_taken_back_at_once() -> None:
    """One of each pool."""
    assert set(parse_counts(NONE).values()) == {1}


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
