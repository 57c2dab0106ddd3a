"""The sample logins keep what their README says."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from deploy.local.samples import generate, load
from deploy.local.samples.lines import line_of
from deploy.local.samples.load import LOGINS, read

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GATEWAY_FIELDS = {
    "user_id", "occurred_at", "ip", "user_agent", "event_id", "email", "locale", "auth_method",
}  # fmt: skip


def test_the_committed_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    """The same seed gives the same bytes, so the file can be checked and made again."""
    again = tmp_path / "logins.jsonl"
    generate.write(7, again)
    assert again.read_bytes() == LOGINS.read_bytes()


def test_another_seed_gives_other_logins(tmp_path: Path) -> None:
    """The seed decides everything, the ids included."""
    other = tmp_path / "logins.jsonl"
    generate.write(8, other)
    ids = {login["event_id"] for login in read()}
    assert ids.isdisjoint(login["event_id"] for login in read(other))


def test_there_are_enough_of_them() -> None:
    """At least 2,000 logins of 200 users in under 1.5 MB."""
    logins = list(read())
    assert len(logins) >= 2000
    assert len({login["user_id"] for login in logins}) >= 200
    assert LOGINS.stat().st_size < 1_500_000


def test_loaded_logins_are_what_the_gateway_takes() -> None:
    """No label and no offset leaves the file, and no time is old or in the future."""
    times = []
    for login in load(NOW):
        assert set(login) <= GATEWAY_FIELDS
        occurred_at = datetime.fromisoformat(login["occurred_at"])
        assert NOW - timedelta(days=121) < occurred_at <= NOW - timedelta(seconds=60)
        times.append(occurred_at)
    assert times == sorted(times)


def test_a_run_can_be_repeated_and_another_run_is_new() -> None:
    """Same now and run: the same logins. Another run: other event ids."""
    first = list(load(NOW, "one"))
    assert list(load(NOW, "one")) == first
    ids = {login["event_id"] for login in first}
    assert len(ids) == len(first)
    assert ids.isdisjoint(login["event_id"] for login in load(NOW, "two"))
    assert ids.isdisjoint(login["event_id"] for login in load(NOW))


def test_a_time_without_zone_is_refused() -> None:
    """A naive time would be placed wrongly without notice."""
    with pytest.raises(ValueError, match="no time zone"):
        next(load(NOW.replace(tzinfo=None)))


def test_user_agents_are_real() -> None:
    """Every string stands in the extract of the source package."""
    lines = LOGINS.with_name("user_agents.jsonl").read_text(encoding="utf-8").splitlines()
    real = {json.loads(line)["user_agent"] for line in lines}
    assert {login["user_agent"] for login in read()} <= real


def test_addresses_lie_in_the_networks_of_the_extract() -> None:
    """Attack logins come from hosting networks, all others from access networks."""
    networks = defaultdict(list)
    with LOGINS.with_name("networks.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            networks[row["kind"]].append(ip_network(row["network"]))
    for login in read():
        kind = "hosting" if login["kind"] == "synthesized_attack" else "access"
        address = ip_address(login["ip"])
        assert any(address in network for network in networks[kind]), login


def test_labels_are_right() -> None:
    """A line the user never had is a new device, another version of a line an update."""
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for login in read():
        lines, line = seen[login["user_id"]], line_of(login["user_agent"])
        if login["kind"] == "synthesized_attack":
            continue
        assert (line not in lines) == (login["kind"] == "new_device"), login
        changed = lines.get(line) not in (None, login["user_agent"])
        assert changed == (login["kind"] == "update"), login
        lines[line] = login["user_agent"]


def test_every_kind_is_there() -> None:
    """The demo shows each case, the synthesized attacks included."""
    kinds = {login["kind"] for login in read()}
    assert kinds == {"new_device", "update", "travel", "usual", "synthesized_attack"}
