"""A user who is erased is in no table, no dead letter and no model any more, and everybody else still is."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.main import run
from services.personal_data import PLACES
from tests.support.cluster import IPHONE, WINDOWS, Cluster, running_cluster
from tests.support.fleet import wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

USER, OTHER, ADDRESS = "zebra-7", "okapi-8", "198.51.100.93"
NEEDLES = (USER, ADDRESS)
ABOUT_USERS = {"user_id", "workflow_id", "notice_id", "device_id", "email", "ip"}
KEPT = {"dead_letter_action", "erasure"}
"""Ids of steps and workflows that operators replayed or dropped; and a pseudonym."""

Operate = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("erasure") / "scores"


@pytest.fixture(scope="module")
def cluster(node: PrivateRabbitMQ, postgres: PrivatePostgres, scores: Path) -> Iterator[Cluster]:
    """With the reference outlier API, and two users in it who have been through the same."""
    with postgres.database() as url, running_cluster(node, url, scores.parent) as running:
        # Those of other tests.
        node.manage("DELETE", "queues/doorbell/db_writes.dead/contents")
        running.rows("ALTER TABLE login ADD CHECK (auth_method <> 'no row')")
        for user in (USER, OTHER):
            for agent in (WINDOWS, IPHONE):
                assert running.ended(running.post(user, agent, ip=ADDRESS)) == ["done"]
            # A bug: the step is dead, and its message a dead letter.
            dead = running.post(user, ip=ADDRESS, auth_method="no row")
            wait_until(lambda: running.workflow(dead)["state"] == "dead", 30)  # noqa: B023
        yield running


@pytest.fixture
def operate(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Operate:
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)

    def command(*arguments: str) -> tuple[int, Any]:
        capfd.readouterr()
        code = run([*arguments])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out.startswith("{") else output.err

    return command


def _tables(cluster: Cluster) -> dict[str, set[str]]:
    """All tables with their columns."""
    rows = cluster.rows(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = 'public' GROUP BY table_name"
    )
    return {table: set(columns) for table, columns in rows}


def _found_in(cluster: Cluster, needle: str) -> set[str]:
    """The tables that have this anywhere in a row."""
    return {
        table
        for table in _tables(cluster)
        if cluster.rows(
            f'SELECT count(*) FROM "{table}" AS it WHERE it::text LIKE %s', f"%{needle}%"
        )
        != [(0,)]
    }


def _rows_of_logins(export: dict[str, Any]) -> dict[str, list[Any]]:
    """Without those of exports, which are kept too."""
    rows: dict[str, list[Any]] = export["rows"]
    exports = {row["id"] for row in rows["workflow"] if row["name"] == "export"}
    return {
        table: [row for row in found if not {row.get("id"), row.get("workflow_id")} & exports]
        for table, found in rows.items()
    }


def _learned(scores: Path, table: str) -> set[tuple[Any, ...]]:
    with sqlite3.connect(scores) as connection:
        return set(connection.execute(f"SELECT * FROM {table}"))


def _dead_letters(cluster: Cluster) -> int:
    return cluster.waiting_messages().get("db_writes.dead", 0)


def test_every_table_about_users_is_known(cluster: Cluster) -> None:
    """A table that is added has to be emptied too."""
    about = {name for name, columns in _tables(cluster).items() if columns & ABOUT_USERS}
    assert about - KEPT == {place.table for place in PLACES}


def test_who_is_not_there_is_said(cluster: Cluster, operate: Operate) -> None:
    """Of a tenant that is, and of one that is not; nothing is asked of anybody."""
    code, said = operate("users", "erase", "shop", "nobody", "--yes")
    assert (code, "nothing is kept about a user nobody of shop" in said) == (4, True)
    code, said = operate("users", "export", "nowhere", USER)
    assert (code, "there is no tenant nowhere" in said) == (4, True)


def test_all_that_is_kept_is_exported(cluster: Cluster, operate: Operate) -> None:
    """Of this user alone."""
    code, found = operate("users", "export", "shop", OTHER)
    assert code == 0
    rows = found["rows"]
    assert [row["state"] for row in rows["step"] if row["message"]].count("dead") == 1
    learned = found["outlier_api"]
    assert learned["logins"] == 2
    assert sum(it["logins"] for it in learned["facts"] if it["level"] == "ip_network") == 2
    assert [len(rows[name]) for name in ("reported_login", "login", "device", "notice")] == [
        *(3, 2, 2, 1)
    ]
    assert rows["reported_login"][0]["email"] == f"{OTHER}@example.org"
    assert USER not in json.dumps(found)
    assert cluster.rows(
        "SELECT count(*) > 0 FROM operator_action WHERE command = 'users export'"
    ) == [(True,)]


def test_a_rehearsal_erases_nothing(cluster: Cluster, operate: Operate) -> None:
    """It says how much there is."""
    code, outcome = operate("users", "erase", "shop", OTHER, "--dry-run", "--json")
    assert code == 0
    assert outcome["before"]["reported_login"] == 3
    assert "reported_login" in _found_in(cluster, OTHER)


def test_an_erased_user_is_nowhere_and_others_are_untouched(
    cluster: Cluster, operate: Operate, scores: Path
) -> None:
    """Looked for as text in every column of every table, and in the model's storage."""
    # One that was begun before and given up is done by this one.
    cluster.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym) VALUES (gen_random_uuid(), 'shop', %s, '')",
        USER,
    )
    wait_until(lambda: _dead_letters(cluster) == 2, 30, "both users' dead letters")
    others = _rows_of_logins(operate("users", "export", "shop", OTHER)[1])
    values = {row for row in _learned(scores, "value_count") if row[1] == OTHER}

    code, outcome = operate("users", "erase", "shop", USER, "--yes", "--json")
    assert code == 0
    assert set(outcome["left"].values()) == {0}
    assert outcome["erased"] == outcome["before"]
    assert (outcome["outlier_api"], outcome["dead_letters"]) == ("forgot 2 logins", 1)

    assert _found_in(cluster, USER) == set()
    assert _rows_of_logins(operate("users", "export", "shop", OTHER)[1]) == others
    wait_until(lambda: _dead_letters(cluster) == 1, 30, "the other's dead letter alone")
    assert not [row for row in _learned(scores, "value_count") if USER in row]
    assert {row for row in _learned(scores, "value_count") if row[1] == OTHER} == values
    # What all have of each value is what those who are left have.
    everyone, left = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for _, user, level, value, _, logins in _learned(scores, "value_count"):
        (left if user else everyone)[level, value] += logins
    assert everyone == left
    sizes = _learned(scores, "user_total")
    assert _learned(scores, "tenant_total") == {
        ("shop", sum(logins for *_, logins in sizes), len({user for _, user, *_ in sizes}))
    }
    assert cluster.rows("SELECT count(*) FROM erasure WHERE user_id IS NOT NULL") == [(0,)]
    [(pseudonym,)] = cluster.rows("SELECT pseudonym FROM erasure WHERE id = %s", outcome["erasure"])
    did = cluster.rows(
        "SELECT command FROM operator_action WHERE subject = %s", f"{pseudonym} of shop"
    )
    assert did == [("users erase",)]


def test_one_that_was_broken_off_is_gone_on_with(cluster: Cluster, operate: Operate) -> None:
    """Where the rows have gone before the outlier API answered, to repeat it is all that is left to do."""
    cluster.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym, erased_at)"
        " VALUES (gen_random_uuid(), 'shop', 'half-gone', '', now())"
    )
    code, outcome = operate("users", "erase", "shop", "half-gone", "--yes", "--json")
    assert (code, outcome["outlier_api"]) == (0, "forgot 0 logins")
    assert cluster.rows("SELECT count(*) FROM erasure WHERE user_id IS NOT NULL") == [(0,)]
    assert operate("users", "erase", "shop", "half-gone", "--yes")[0] == 4


def test_a_user_who_comes_back_is_new(cluster: Cluster, operate: Operate) -> None:
    """As if never seen before: no notice, no score to compare with."""
    workflow = cluster.post("quagga-9", WINDOWS)
    assert cluster.ended(workflow) == ["done"]
    assert operate("users", "erase", "shop", "quagga-9", "--yes")[0] == 0
    again = cluster.post("quagga-9", IPHONE)
    assert cluster.ended(again) == ["done"]
    assert cluster.rows("SELECT score FROM verdict WHERE workflow_id = %s", again) == [(None,)]
    assert cluster.rows("SELECT count(*) FROM notice WHERE workflow_id = %s", again) == [(0,)]
