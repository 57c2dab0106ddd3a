"""`doorbell audit`: whatever an operator did by hand is there, with who it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
import typer.main

from services.cli.audit import actor
from services.cli.main import application, run
from services.ledger import drains
from tests.integration.cli.conftest import Run

CHANGING_NOTHING = {
    *("audit", "breaker list", "dead list", "dead show", "doctor", "key list", "logins import"),
    *("incident list", "incident show"),
    *(
        "policy check",
        "policy report",
        "policy show",
        "pool list",
        "task list",
        "tenant list",
        "topology show",
        "topology verify",
        "trace",
        "users certificate",
        "users show",
        "webhook show",
    ),
}
"""They look; an import reports logins, as an application does."""
NOTED_ELSEWHERE = {"migrate", "mail bounced"}
"""yoyo keeps who applied which migration, and when; a bounce is what a mail server says, and stands with its notice."""
WITH_A_BROKER = {
    *("dead replay", "dead drop", "workflow resume", "pool drain", "pool resume"),
    *("users digest", "users erase", "users export", "webhook test"),
    *("incident lockdown", "incident stop", "incident undo"),
}
"""What they write is looked at where there is one, or somebody who answers."""


@pytest.fixture
def shop(database_url: str, doorbell: Run) -> str:
    """A tenant with a key; gives the key's name."""
    doorbell("tenant", "create", "shop", "The Shop")
    doorbell("key", "create", "shop")
    return str(doorbell("key", "list")[1][0]["key"])


def trail(doorbell: Run, *options: str) -> list[tuple[str, str]]:
    return [(row["command"], row["subject"]) for row in doorbell("audit", *options)[1]]


def commands(command: Any, name: str = "") -> list[str]:
    """What can be typed behind `doorbell`."""
    if not hasattr(command, "commands"):
        return [name]
    below = command.commands.items()
    return [found for key, each in below for found in commands(each, f"{name} {key}".strip())]


DONE: list[tuple[tuple[str, ...], tuple[str, str] | None]] = [
    (("breaker", "open", "outlier_api"), ("breaker open", "outlier_api")),
    (("breaker", "close", "outlier_api"), ("breaker close", "outlier_api")),
    (("task", "pause", "external_api.score_login"), ("task pause", "external_api.score_login")),
    (("task", "resume", "external_api.score_login"), ("task resume", "external_api.score_login")),
    (
        ("task", "limit", "external_api.score_login", "5/s"),
        ("task limit", "external_api.score_login to 5/s"),
    ),
    (("task", "unlimit", "external_api.score_login"), ("task unlimit", "external_api.score_login")),
    (
        ("users", "lock", "shop", "eve", "--yes", "--reason", "fraud"),
        ("users lock", "1 of shop, locked: fraud"),
    ),
    (
        ("users", "unlock", "--tenant", "shop", "--all", "--yes"),
        ("users unlock", "1 of shop, locked: unlocked by hand"),
    ),
    (("ledger", "republish", "--queue", "db_writes"), ("ledger republish", "db_writes")),
    (("ledger", "republish", "--dry-run"), None),
    (("tenant", "create", "bank", "The Bank"), ("tenant create", "bank")),
    (("tenant", "create", "bank", "The Bank"), None),
    (("tenant", "limit", "bank", "50"), ("tenant limit", "bank to 50")),
    (("tenant", "limit", "bank", "50"), None),
    (("tenant", "limit", "bank", "none"), ("tenant limit", "bank to none")),
    (("policy", "set", "bank", "deploy/policies/cautious.yml"), ("policy set", "bank")),
    (("policy", "unset", "bank"), ("policy unset", "bank")),
    (
        ("webhook", "set", "bank", "https://bank.example/hook"),
        ("webhook set", "bank to bank.example"),
    ),
    (("webhook", "retry", "bank"), ("webhook retry", "bank, 0 events")),
    (("webhook", "unset", "bank"), ("webhook unset", "bank")),
    (("webhook", "unset", "bank"), None),
    (("users", "resubscribe", "shop", "eve"), ("users resubscribe", "1 of shop")),
    (("users", "resubscribe", "shop", "eve"), None),
]


def test_what_was_done_is_listed(
    shop: str, database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest first, with who did it; what changed nothing is not there."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', 'eve', 'locked', false)"
        )
        connection.execute("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'eve')")
    monkeypatch.setenv("DOORBELL_ACTOR", "ada")
    for words, _ in DONE:
        code, said = doorbell(*words)
        assert (code, type(said)) != (2, str), said
    for _ in range(2):
        doorbell("key", "revoke", shop, "--last")

    expected = [row for _, row in DONE if row is not None] + [("key revoke", f"{shop} of shop")]
    assert trail(doorbell, "--by", "ada@") == expected[::-1]
    assert trail(doorbell, "--by", "ada@", "--limit", "1") == expected[-1:]
    assert trail(doorbell, "--by", "grace") == []
    assert trail(doorbell)[-2:] == [("key create", f"{shop} of shop"), ("tenant create", "shop")]


def test_what_was_done_to_pools_and_dead_letters_is_listed(
    database_url: str, doorbell: Run
) -> None:
    """A line for each scope, and one for the letters of a queue that one portion was about."""
    scope = drains.Scope("maintenance", "host1", 2)
    with psycopg.connect(database_url) as connection:
        drains.drain(connection, scope, "ada@desk")
    with psycopg.connect(database_url) as connection:
        drains.resume(connection, scope, "ada@desk")
    for action in ("replay", "drop", "resume"):
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO dead_letter_action (action, step_id, queue, generation, actor)"
                " SELECT %s, n::text, 'db_writes', 1, 'ada@desk' FROM generate_series(1, 3) AS n",
                (action,),
            )

    assert trail(doorbell) == [
        ("workflow resume", "3 of db_writes"),
        ("dead drop", "3 of db_writes"),
        ("dead replay", "3 of db_writes"),
        ("pool resume", "maintenance on host1 process 2"),
        ("pool drain", "maintenance on host1 process 2"),
    ]


def test_what_replaces_something_ends_nothing(database_url: str, doorbell: Run) -> None:
    """Nobody typed a resume, or an unlimit."""
    doorbell("task", "pause", "notifications.deliver_notice")
    doorbell("task", "pause", "notifications.deliver_notice", "--drop", "--yes")
    doorbell("task", "limit", "notifications.deliver_notice", "5/s")
    doorbell("task", "limit", "notifications.deliver_notice", "100/m")

    assert [command for command, _ in trail(doorbell)] == [
        *("task limit", "task limit", "task pause --drop", "task pause")
    ]


def test_a_reason_that_names_somebody_does_not(
    shop: str, database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People write what they like, and call themselves so."""
    monkeypatch.setenv("DOORBELL_ACTOR", "[bold]\udcff[/nope]")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', '[/x]', 'locked', false)"
        )
    told = "ada@example.org, 203.0.113.7, called me [/why]"
    doorbell("users", "lock", "shop", "[/x]", "--yes", "--reason", told)

    [(_, subject), *_] = trail(doorbell)
    assert "ada@" not in subject
    assert "203.0" not in subject
    assert run(["audit"]) == 0
    assert run(["users", "unlock", "--all", "--dry-run"]) == 0


def test_whoever_became_root_is_named(doorbell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers are told of both names."""
    monkeypatch.setenv("DOORBELL_ACTOR", "root")
    monkeypatch.setenv("SUDO_USER", "ada")
    assert actor().startswith("ada@")
    monkeypatch.setenv("SUDO_USER", "")
    assert actor().startswith("root@")


def test_a_session_that_was_ended_is_listed(database_url: str, doorbell: Run) -> None:
    """Without what it had asked the database: that may name people."""
    with (
        closing(psycopg.connect(database_url, application_name="report")) as holder,
        psycopg.connect(database_url, application_name="doorbell-test", autocommit=True) as ours,
        ThreadPoolExecutor(1) as waiting,
    ):
        holder.execute("LOCK TABLE tenant IN ACCESS EXCLUSIVE MODE")
        waits = waiting.submit(ours.execute, "SELECT FROM tenant")
        assert doorbell("ledger", "blockers", "--end")[1]["left"] == []
        waits.result(10)
        pid, user = holder.info.backend_pid, holder.info.user

    assert trail(doorbell) == [("ledger blockers --end", f"{pid} of {user}, 'report'")]


def test_every_command_looks_or_is_in_the_trail() -> None:
    """Whoever adds one says which."""
    noted = {words[0] + " " + words[1] for words, row in DONE if row is not None}
    noted |= {"key create", "key revoke", "ledger blockers", *WITH_A_BROKER}

    assert CHANGING_NOTHING | NOTED_ELSEWHERE | noted == set(
        commands(typer.main.get_command(application()))
    )
