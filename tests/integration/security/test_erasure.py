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
ABSENT = "00000000-0000-0000-0000-000000000000"
STEPS = [
    "maintenance.erase_exports",
    "maintenance.erase_user",
    "maintenance.clear_letters",
    "external_api.forget_user",
    "maintenance.certify_erasure",
]
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
    [(before,)] = cluster.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym) VALUES (gen_random_uuid(), 'shop', %s, '')"
        " RETURNING id",
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
        "SELECT command, actor FROM operator_action WHERE subject = %s", f"{pseudonym} of shop"
    )
    assert did == [("users erase", outcome["certificate"]["asked_by"])]
    assert cluster.call("GET", f"/v1/erasures/{before}").json()["state"] == "superseded"
    # Its workflow is shown as any other, and is about nobody.
    shown = cluster.workflow(outcome["erasure"])
    assert (shown["name"], shown["state"], shown["user_id"]) == ("erasure", "done", None)
    assert [step["task"] for step in shown["steps"]] == STEPS
    assert operate("trace", outcome["erasure"], "--json")[1]["user_id"] is None
    assert not {USER, ADDRESS} & {*json.dumps(outcome["certificate"]).split('"')}


def test_a_certificate_is_shown_and_verified(
    cluster: Cluster, operate: Operate, tmp_path: Path
) -> None:
    """By its erasure's id, or a copy; one that was changed, or is another's, is not genuine."""
    assert cluster.ended(cluster.post("lion-1", WINDOWS)) == ["done"]
    code, outcome = operate("users", "erase", "shop", "lion-1", "--yes", "--json")
    assert code == 0
    erasure, certificate = outcome["erasure"], outcome["certificate"]
    assert certificate["outlier_api"] == "forgot 1 logins"
    assert {it["place"]: (it["deleted"], it["left"]) for it in certificate["places"]} == {
        table: (rows, 0) for table, rows in outcome["before"].items()
    }
    assert operate("users", "certificate", erasure, "--json") == (
        0,
        {"genuine": True, "certificate": certificate},
    )
    assert operate("users", "certificate", erasure)[0] == 0

    answered = cluster.call("GET", f"/v1/erasures/{erasure}").json()
    assert (answered["state"], answered["certificate"]) == ("done", certificate)
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(answered))
    assert operate("users", "certificate", erasure, "--file", str(copy))[0] == 0
    copy.write_text(json.dumps(certificate | {"tenant": "elsewhere"}))
    code, said = operate("users", "certificate", erasure, "--file", str(copy))
    assert (code, "not as it was signed" in said) == (1, True)
    copy.write_text(f'{{"tenant": "elsewhere", {json.dumps(certificate)[1:]}')
    code, said = operate("users", "certificate", erasure, "--file", str(copy))
    assert (code, "the name 'tenant' occurs twice in one object" in said) == (2, True)
    copy.write_text("[]")
    assert operate("users", "certificate", erasure, "--file", str(copy))[0] == 2
    assert operate("users", "certificate", ABSENT)[0] == 4

    cluster.rows(
        "UPDATE erasure SET certificate = jsonb_set(certificate, '{places,0,deleted}', '77') WHERE id = %s",
        erasure,
    )
    code, found = operate("users", "certificate", erasure, "--json")
    assert (code, found["genuine"]) == (1, False)
    # A genuine one of another erasure in its place.
    again = operate("users", "erase", "shop", "lion-1", "--yes", "--json")[1]["erasure"]
    cluster.rows(
        "UPDATE erasure SET certificate = (SELECT certificate FROM erasure WHERE id = %s) WHERE id = %s",
        again,
        erasure,
    )
    assert operate("users", "certificate", erasure, "--json")[1]["genuine"] is False
    assert operate("users", "certificate", again, "--json")[1]["genuine"] is True


def test_an_application_erases_a_user(cluster: Cluster, operate: Operate) -> None:
    """While it is under way it is answered again; dead letters go too, and the trail names the key."""
    others = len(cluster.rows("SELECT id FROM step WHERE state = 'dead' AND dropped_at IS NULL"))
    dead = cluster.post("gnu/7", ip=ADDRESS, auth_method="no row")
    wait_until(lambda: cluster.workflow(dead)["state"] == "dead", 30)
    wait_until(lambda: _dead_letters(cluster) == others + 1, 30, "the dead letter")
    cluster.fleet.stop("maintenance")
    try:
        begun = cluster.call("POST", "/v1/users/gnu%2F7/erase")
        assert begun.status_code == 202
        erasure = begun.json()["erasure_id"]
        assert begun.json() == {"erasure_id": erasure, "workflow_id": erasure, "state": "accepted"}
        assert cluster.call("POST", "/v1/users/gnu%2F7/erase").json()["erasure_id"] == erasure
        found = cluster.call("GET", f"/v1/erasures/{erasure}").json()
        assert (found["state"], found["certificate"]) == ("accepted", None)
        code, said = operate("users", "certificate", erasure)
        assert (code, "no certificate yet (accepted)" in said) == (1, True)
    finally:
        cluster.fleet.start("maintenance")
    assert cluster.ended(erasure) == ["done"]
    found = cluster.call("GET", f"/v1/erasures/{erasure}").json()
    assert found["certificate"]["dead_letters"] == {"deleted": 1, "left": 0}
    wait_until(lambda: _dead_letters(cluster) == others, 30, "the others' dead letters alone")
    assert cluster.rows("SELECT count(*) FROM erasure_letter") == [(0,)]
    assert _found_in(cluster, "gnu/7") == set()
    [(key,)] = cluster.rows("SELECT left(encode(key_sha256, 'hex'), 12) FROM api_key")
    assert found["certificate"]["asked_by"] == f"API key {key}"
    assert cluster.rows(
        "SELECT count(*) FROM operator_action WHERE actor = %s AND subject = %s",
        f"API key {key}",
        f"{found['certificate']['pseudonym']} of shop",
    ) == [(1,)]


def test_others_erasures_are_not_there(cluster: Cluster) -> None:
    """Nor is one of a user of whom nothing was ever kept."""
    nobody = cluster.call("POST", "/v1/users/nobody/erase")
    assert (nobody.status_code, nobody.json()["detail"]) == (404, "nothing is kept about this user")
    cluster.rows("INSERT INTO tenant (id, name) VALUES ('elsewhere', 'Elsewhere')")
    [(theirs,)] = cluster.rows(
        "INSERT INTO erasure (id, tenant_id, pseudonym) VALUES (gen_random_uuid(), 'elsewhere', 'p')"
        " RETURNING id"
    )
    for erasure in (theirs, ABSENT):
        answer = cluster.call("GET", f"/v1/erasures/{erasure}")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "you have no erasure of this id",
        )


def test_nothing_is_certified_while_something_is_left(cluster: Cluster) -> None:
    """The step is tried again and says what it found; asked for again, a new erasure takes that too."""
    assert cluster.ended(cluster.post("ibis-3", WINDOWS)) == ["done"]
    cluster.fleet.stop("external_api")
    try:
        erasure = cluster.call("POST", "/v1/users/ibis-3/erase").json()["erasure_id"]
        wait_until(
            lambda: (
                cluster.rows("SELECT erased_at IS NOT NULL FROM erasure WHERE id = %s", erasure)
                == [(True,)]
            ),
            30,
            "the rows' end",
        )
        cluster.rows("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ibis-3')")
    finally:
        cluster.fleet.start("external_api")

    def refusal() -> list[tuple[Any, ...]]:
        return cluster.rows(
            "SELECT result FROM step WHERE workflow_id = %s AND task = 'maintenance.certify_erasure'"
            " AND state = 'retrying'",
            erasure,
        )

    [(said,)] = wait_until(refusal, 60, "a second look that finds something")
    assert "something is left (unsubscribed 1)" in said
    found = cluster.call("GET", f"/v1/erasures/{erasure}").json()
    assert (found["state"], found["certificate"]) == ("running", None)

    again = cluster.call("POST", "/v1/users/ibis-3/erase").json()["erasure_id"]
    assert again != erasure
    assert cluster.ended(again, erasure, seconds=120) == ["done", "done"]
    assert cluster.call("GET", f"/v1/erasures/{erasure}").json()["state"] == "superseded"
    assert cluster.call("GET", f"/v1/erasures/{again}").json()["state"] == "done"
    assert _found_in(cluster, "ibis-3") == set()


def test_a_worker_that_is_killed_between_steps_loses_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """It dies when the rows are deleted and the next step is not sent yet; what it deleted is certified."""
    assert cluster.ended(cluster.post("kudu-5", WINDOWS)) == ["done"]
    cluster.fleet.stop("maintenance")
    killed = f"after_commit@maintenance.erase_user={tmp_path / 'killed'}"
    process = cluster.fleet.start("maintenance", DOORBELL_FAILPOINTS=killed)
    try:
        erasure = cluster.call("POST", "/v1/users/kudu-5/erase").json()["erasure_id"]
        wait_until(lambda: process.poll() is not None, 60, "the kill")
    finally:
        cluster.fleet.kill("maintenance")
        cluster.fleet.start("maintenance")
    assert cluster.ended(erasure) == ["done"]
    certificate = cluster.call("GET", f"/v1/erasures/{erasure}").json()["certificate"]
    deleted = {it["place"]: it["deleted"] for it in certificate["places"]}
    assert (deleted["login"], deleted["device"], deleted["workflow"]) == (1, 1, 1)
    assert certificate["outlier_api"] == "forgot 1 logins"


def test_one_that_was_broken_off_is_gone_on_with(cluster: Cluster, operate: Operate) -> None:
    """Where the rows have gone before the outlier API answered, to repeat it is all that is left to do."""
    cluster.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym, erased_at)"
        " VALUES (gen_random_uuid(), 'shop', 'half-gone', '', now())"
    )
    code, outcome = operate("users", "erase", "shop", "half-gone", "--yes", "--json")
    assert (code, outcome["outlier_api"]) == (0, "forgot 0 logins")
    assert cluster.rows("SELECT count(*) FROM erasure WHERE user_id IS NOT NULL") == [(0,)]
    again = operate("users", "erase", "shop", "half-gone", "--yes", "--json")
    assert (again[0], again[1]["outlier_api"]) == (0, "forgot 0 logins")
    assert again[1]["erasure"] != outcome["erasure"]


def test_a_user_who_comes_back_is_new(cluster: Cluster, operate: Operate) -> None:
    """As if never seen before: no notice, no score to compare with."""
    workflow = cluster.post("quagga-9", WINDOWS)
    assert cluster.ended(workflow) == ["done"]
    assert operate("users", "erase", "shop", "quagga-9", "--yes")[0] == 0
    again = cluster.post("quagga-9", IPHONE)
    assert cluster.ended(again) == ["done"]
    assert cluster.rows("SELECT score FROM verdict WHERE workflow_id = %s", again) == [(None,)]
    assert cluster.rows("SELECT count(*) FROM notice WHERE workflow_id = %s", again) == [(0,)]
    # And may want to be forgotten again.
    code, outcome = operate("users", "erase", "shop", "quagga-9", "--yes", "--json")
    assert (code, outcome["erased"]["login"], outcome["outlier_api"]) == (0, 1, "forgot 1 logins")
