"""`doorbell policy`: a tenant's file is checked, given to it, shown again, and taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from services.cli.main import run
from services.domain.policy import DEFAULT
from tests.integration.cli.conftest import Run

FULL = """\
# The shop's own.
levels: {medium: 1, high: 5.5}
actions:
  medium: []
  deny: [notify]
never_lock: [root, "ops@example.org"]
lock_from: 0
cooldown: 30m
expire: {require_step_up: 7d}
tell: {verdict: both}
mails_per_hour: 3
digest: {hour: 0}
dry_run: true
"""
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "policy.yml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def shop(database_url: str, doorbell: Run) -> str:
    doorbell("tenant", "create", "shop", "The Shop")
    return database_url


def test_what_a_file_leaves_out_is_as_without_one(doorbell: Run, write: Write) -> None:
    """Occasions and reasons one by one."""
    code, found = doorbell("policy", "check", write(FULL))
    assert code == 0
    assert found == DEFAULT.to_document() | {
        "levels": {"medium": 1.0, "high": 5.5},
        "actions": {
            "medium": [],
            "high": ["notify", "require_step_up"],
            "deny": ["notify"],
            "disowned": ["locked"],
        },
        "never_lock": ["ops@example.org", "root"],
        "lock_from": 0,
        "cooldown_seconds": 1800.0,
        "expire_seconds": {"require_step_up": 604800.0},
        "tell": {"new_device": "user", "verdict": "both", "lockdown": "user"},
        "mails_per_hour": 3,
        "digest": {"hour": 0},
        "dry_run": True,
    }
    assert doorbell("policy", "check", write("{}")) == (0, DEFAULT.to_document())


@pytest.mark.parametrize("name", ["default", "cautious"])
def test_the_files_that_come_with_it_can_be_set(shop: str, doorbell: Run, name: str) -> None:
    """And the one that explains every word says what holds without any."""
    path = Path(__file__).resolve().parents[3] / "deploy" / "policies" / f"{name}.yml"
    code, found = doorbell("policy", "set", "shop", path)
    assert code == 0
    assert (found["policy"] == DEFAULT.to_document()) == (name == "default")


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("level: 1\n", ["1: the policy knows no key level: use levels, actions"]),
        ("levels: {medium: 5,\n  high: 1}\n", ["2: levels: high is below medium"]),
        ("levels: {medium: -1, high: 1}\n", ["1: levels: medium is -1.0: it must be above 0"]),
        ("levels: {medium: .inf, high: 1}\n", ["1: levels: medium is inf"]),
        ("levels: {medium: !!float abc, high: 1}\n", ["1: levels: medium is 'abc': it must be a"]),
        ("levels: {medium: 1:30, high: 200}\n", ["1: levels: medium is '1:30': it must be a"]),
        ("levels: {high: 5}\n", ["1: levels has one of medium and high: give both"]),
        ("dry_run: !!bool perhaps\n", ["1: dry_run is 'perhaps': it must be true or false"]),
        (
            "mails_per_hour: !!int many\n",
            ["1: mails_per_hour is 'many': it must be a whole number"],
        ),
        ('never_lock: ["a\\0b"]\n', ["1: a user of never_lock is 'a\\x00b'"]),
        ("[" * 5000 + "\n", ["1: is nested too deeply"]),
        ("actions: {high: [lock]}\n", ["1: actions: high names 'lock', which is not there"]),
        (
            "actions: {low: [locked]}\n",
            ["1: actions knows no key low: use medium, high, deny, disowned"],
        ),
        ("actions: {disowned: [notify]}\n", ["1: actions: disowned names 'notify', which is"]),
        ("actions: {high: locked}\n", ["1: actions: high is a text: it must be a list"]),
        ("never_lock: root\n", ["1: never_lock is no list"]),
        (
            "never_lock: [7]\n",
            ['1: a user of never_lock is a whole number: it must be a text, such as "7"'],
        ),
        ("lock_from: -1\n", ["1: lock_from is -1: it must be at least 0"]),
        ("lock_from: 101\n", ["1: lock_from is 101: it must be at most 100"]),
        ("lock_from: 3d\n", ["1: lock_from is a text: it must be a whole number"]),
        ("cooldown: 5\n", ["1: cooldown is '5': write how long, such as 10m, 1h or 7d"]),
        ("expire: {locked: [1h]}\n", ["1: expire: locked: write how long, such as 10m, 1h or 7d"]),
        ("cooldown: soon\n", ["1: cooldown is 'soon': write how long, such as 10m"]),
        ("expire: {locked: 0s}\n", ["1: expire: locked is '0s': write how long"]),
        ("tell: {verdict: me}\n", ["1: tell: verdict is 'me': use user or application or both"]),
        ("mails_per_hour: 0\n", ["1: mails_per_hour is 0: it must be at least 1"]),
        ("digest: {hour: 24}\n", ["1: digest: hour is 24: it must be at most 23"]),
        ("digest: {at: 8}\n", ["1: digest knows no key at: use hour"]),
        ("digest: 8\n", ["1: digest is a whole number: it must be a mapping"]),
        ("dry_run: maybe\n", ["1: dry_run is a text: it must be true or false"]),
        ("dry_run: true\ndry_run: false\n", ["2: dry_run stands twice"]),
        ("- a\n", ["1: the policy is a list: it must be a mapping"]),
        ("levels: [\n", ["2: is not valid YAML"]),
        ("", ["1: is empty"]),
        ("tell: {a: b}\ncooldown: x\n", ["1: tell knows no key a", "2: cooldown is 'x'"]),
    ],
)
def test_a_wrong_file_is_refused_line_by_line(
    shop: str, doorbell: Run, write: Write, text: str, complaints: list[str]
) -> None:
    """All that is wrong at once, and what holds stays."""
    path = write(text)
    for command in (("check", path), ("set", "shop", path)):
        code, said = doorbell("policy", *command)
        assert code == 2
        for complaint in complaints:
            assert f"{path}:{complaint}" in said
    assert not doorbell("policy", "show", "shop")[1]["is_set"]


@pytest.mark.parametrize(
    ("users", "complaint"),
    [
        (1_001, "2: never_lock has more than 1000 users: keep the few who unlock"),
        (300_000, "2: what begins here makes more than 20,000 values of the file"),
    ],
)
def test_a_list_of_everybody_is_refused_before_it_is_read(
    doorbell: Run, write: Write, users: int, complaint: str
) -> None:
    """At its line; all users of a large application would be composed for a quarter of a minute."""
    path = write("never_lock:\n" + "".join(f"- user-{number}\n" for number in range(users)))
    began = time.monotonic()
    code, said = doorbell("policy", "check", path)
    assert (code, f"{path}:{complaint}" in said) == (2, True)
    assert time.monotonic() - began < 10


def test_a_policy_is_shown_as_it_was_written(
    shop: str, doorbell: Run, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its comments; and what is printed for who has none can be given back."""
    assert doorbell("policy", "set", "shop", write(FULL))[0] == 0
    assert run(["policy", "show", "shop"]) == 0
    assert capfd.readouterr().out == FULL
    assert doorbell("policy", "unset", "shop")[0] == 0
    assert run(["policy", "show", "shop"]) == 0
    assert doorbell("policy", "check", write(capfd.readouterr().out)) == (0, DEFAULT.to_document())


@pytest.mark.parametrize("command", ["show", "unset", "report"])
def test_a_tenant_that_is_not_there_is_not_found(shop: str, doorbell: Run, command: str) -> None:
    """Nothing is set for nobody."""
    assert doorbell("policy", command, "shoe")[0] == 4


def test_a_file_that_cannot_be_read_is_named(doorbell: Run, tmp_path: Path) -> None:
    """By its path."""
    code, said = doorbell("policy", "check", tmp_path / "none.yml")
    assert (code, "none.yml: cannot be read: No such file" in said) == (2, True)


def test_who_is_never_locked_is_not_locked_by_hand(shop: str, doorbell: Run, write: Write) -> None:
    """Nor anybody who was named beside him; a second factor may be asked of all."""
    _sign_in(shop, "root", "eve")
    doorbell("policy", "set", "shop", write("never_lock: [root]\n"))
    code, said = doorbell("users", "lock", "shop", "root", "eve", "--yes")
    assert (code, "never locked: root; nobody was locked" in said) == (1, True)
    step_up = ("users", "lock", "shop", "root", "eve", "--yes", "--switch", "require_step_up")
    assert len(doorbell(*step_up)[1]["users"]) == 2
    assert doorbell("users", "lock", "shop", "eve", "--yes")[0] == 0


def test_what_a_policy_wanted_is_counted(shop: str, doorbell: Run) -> None:
    """By level, a dry run's apart."""
    stored: list[tuple[Any, ...]] = [
        ("high", ["require_step_up", "locked"], True, False),
        ("high", ["require_step_up"], True, True),
        ("high", ["require_step_up"], False, True),
        ("low", None, None, None),
    ]
    for level, switches, is_due, is_dry in stored:
        [workflow] = _sign_in(shop, "ada")
        with psycopg.connect(shop) as connection:
            connection.execute(
                "INSERT INTO verdict (workflow_id, tenant_id, user_id, level, action, request_id, score, switches,"
                " notice_due, dry_run) VALUES (%s, 'shop', 'ada', %s, 'allow', '', 2.5, %s, %s, %s)",
                (workflow, level, switches, is_due, is_dry),
            )
    code, rows = doorbell("policy", "report", "shop")
    assert code == 0
    columns = ("level", "dry_run", "verdicts", "median", "require_step_up", "locked", "notices")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("low", False, 1, 2.5, 0, 0, 0),
        ("high", False, 1, 2.5, 1, 1, 1),
        ("high", True, 2, 2.5, 2, 0, 1),
    ]


def _sign_in(database_url: str, *users: str) -> list[str]:
    workflows = [str(uuid4()) for _ in users]
    with psycopg.connect(database_url) as connection:
        for workflow, user in zip(workflows, users, strict=True):
            connection.execute(
                "INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (%s, 'shop', 'login', %s)",
                (workflow, user),
            )
    return workflows
