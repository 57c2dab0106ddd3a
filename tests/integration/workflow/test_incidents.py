"""Many users are locked, told and unlocked again by the command and by the application, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.workflow.conftest import Operate
from tests.support.cluster import Cluster
from tests.support.fleet import wait_until

FLIPS = "SELECT user_id, is_on FROM switch_change WHERE incident_id = %s"
Incident = dict[str, Any]


@pytest.fixture
def users(cluster: Cluster) -> Callable[[int], list[str]]:
    """Makes so many users of the test's own who have logged in."""

    def make(count: int) -> list[str]:
        prefix = f"incident-{uuid4()}"
        names = [f"{prefix}-{number}" for number in range(count)]
        cluster.rows(
            "WITH made AS ("
            " INSERT INTO workflow (id, tenant_id, name, state, user_id)"
            " SELECT gen_random_uuid(), 'shop', 'login', 'done', name FROM unnest(%s::text[]) AS name"
            " RETURNING id, user_id)"
            " INSERT INTO reported_login"
            " (workflow_id, tenant_id, event_id, user_id, occurred_at, ip, user_agent, email)"
            " SELECT id, 'shop', id::text, user_id, now(), '198.51.100.7', '', user_id || '@example.org'"
            " FROM made",
            names,
        )
        return names

    return make


def _file(directory: Path, names: list[str]) -> str:
    file = directory / "users.txt"
    file.write_text("\n".join(names))
    return str(file)


def _on(cluster: Cluster, names: list[str]) -> int:
    found = cluster.rows(
        "SELECT count(*) FROM switch WHERE is_on AND name = 'locked' AND user_id = ANY (%s)", names
    )
    return int(found[0][0])


def test_users_are_locked_told_and_unlocked(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Each flip once, one mail each; the workflow is shown as any other, and what is done twice is done once."""
    names = users(230)
    file = _file(tmp_path, [*names, "incident-nobody"])
    command = ("incident", "lockdown", "shop", "--switch", "locked", "--users", file)
    code, looked = operate(*command, "--dry-run")
    assert (code, looked["counts"]["waiting"], _on(cluster, names)) == (0, 230, 0)

    code, done = operate(*command, "--reason", "a try", "--yes")
    assert (code, done["state"], done["skipped"]) == (0, "done", {"unknown": ["incident-nobody"]})
    assert (done["counts"]["switched"], done["counts"]["notices"]) == (230, 230)
    incident = done["incident_id"]
    assert sorted(cluster.rows(FLIPS, incident)) == sorted((name, True) for name in names)
    shown = cluster.workflow(incident)
    steps = {(step["task"], step["state"]) for step in shown["steps"]}
    assert steps == {("celery.map", "done"), ("notifications.notify_switched", "done")}
    in_slices = [("maintenance.switch_users", count) for count in (4, 4, 2)]
    assert _maps(shown) == _maps(operate("trace", incident)[1]) == in_slices
    assert shown["state"] == "done"

    wait_until(
        lambda: operate("incident", "show", incident)[1]["counts"]["notices_sent"] == 230, 60
    )
    [mail] = cluster.mails_to(names[0])
    assert mail["Subject"] == "Your The Shop account is locked"

    code, again = operate(*command, "--yes")
    assert (code, again["counts"]["switched"], again["counts"]["on_before"]) == (0, 0, 230)
    for _ in range(2):
        code, undone = operate("incident", "undo", incident)
        assert (code, undone["state"], undone["counts"]["undone"]) == (0, "undone", 230)
    assert _on(cluster, names) == 0
    assert len(cluster.rows(FLIPS, incident)) == 460
    listed = operate("incident", "list", "--tenant", "shop")[1]
    assert {incident, again["incident_id"]} <= {row["incident_id"] for row in listed}
    trail = {row["command"] for row in operate("audit")[1] if incident in row["subject"]}
    assert trail == {"incident lockdown", "incident undo"}


def test_its_groups_stay_as_they_are_while_it_goes(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Portions are side by side, and what is behind each is not; neither waits for what a message says of it."""
    paced = ("--rate", "2", "--users", _file(tmp_path, users(8)), "--no-wait", "--yes")
    code, begun = operate("incident", "lockdown", "shop", "--switch", "locked", *paced)
    assert code == 0
    seen = set()

    def is_over() -> bool:
        shown = cluster.workflow(begun["incident_id"])
        seen.update((it["task"], it["group_size"]) for it in shown["steps"])
        return bool(shown["state"] == "done")

    wait_until(is_over, 60)
    assert seen == {("celery.map", 4), ("notifications.notify_switched", None)}


def test_notices_wait_in_another_queue(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Of the command and of the application: all are told, by way of the queue that was asked for."""
    names = users(130)
    code, done = operate(
        *("incident", "lockdown", "shop", "--switch", "locked", "--yes"),
        *("--users", _file(tmp_path, names), "--notices-onto", "bulk_notices"),
    )
    assert (code, done["state"], done["notices_onto"]) == (0, "done", "bulk_notices")
    told = users(3)
    wanted = {"switch": "locked", "users": told, "notices_onto": "bulk_notices"}
    begun = _post(cluster, "", wanted, 202)
    assert begun["notices_onto"] == "bulk_notices"
    for incident, whose in ((done["incident_id"], names), (begun["incident_id"], told)):
        _wait_until_sent(cluster, incident, len(whose))
        assert len(cluster.mails_to(whose[0])) == 1
        assert _queues(cluster, incident) == {
            ("celery.map", "maintenance"),
            ("notifications.notify_switched", "bulk_notices"),
        }
        deliveries = (
            "SELECT step.queue, count(*) FROM step"
            " WHERE task = 'notifications.deliver_notice' AND parent_id IN"
            " (SELECT id FROM step WHERE workflow_id = %s) GROUP BY queue"
        )
        assert cluster.rows(deliveries, incident) == [("bulk_notices", len(whose))]
        undone = operate("incident", "undo", incident)[1]
        assert undone["counts"]["undone"] == len(whose)


@pytest.mark.parametrize("queue", ["nowhere", "db_writes", "maintenance", "notifications.dead", ""])
def test_a_queue_whose_pool_tells_nobody_is_refused(
    cluster: Cluster,
    operate: Operate,
    users: Callable[[int], list[str]],
    tmp_path: Path,
    queue: str,
) -> None:
    """For a look as well; the option or the field is named, with what is possible."""
    names = users(1)
    before = cluster.rows("SELECT count(*) FROM incident")
    command = ("incident", "lockdown", "shop", "--switch", "locked", "--notices-onto", queue)
    for more in ("--dry-run", "--yes"):
        code, said = operate(*command, "--users", _file(tmp_path, names), more)
        assert code == 2
        assert "--notices-onto: notices of an incident cannot wait in" in said
        assert "use one of notifications, bulk_notices" in " ".join(said.split())
    for more in ({}, {"dry_run": True}):
        wanted = {"switch": "locked", "users": names, "notices_onto": queue}
        [error] = _post(cluster, "", wanted | more, 422)["errors"]
        assert error["field"] == "notices_onto"
        assert queue == "" or "use one of notifications, bulk_notices" in error["message"]
    assert cluster.rows("SELECT count(*) FROM incident") == before


def test_an_application_locks_those_of_a_network(
    cluster: Cluster, users: Callable[[int], list[str]]
) -> None:
    """Paced, stopped and taken back over HTTP; whoever has not begun by then does nothing."""
    names = users(120)
    cluster.rows("UPDATE reported_login SET ip = '192.0.2.77' WHERE user_id = ANY (%s)", names)
    wanted = {"switch": "locked", "network": "192.0.2.64/26", "since": "2020-01-01T00:00:00Z"}
    looked = _post(cluster, "", wanted | {"dry_run": True}, 200)
    assert (looked["dry_run"], looked["counts"]["waiting"]) == (True, 120)

    begun = _post(cluster, "", wanted | {"users_per_second": 1}, 202)
    # Whoever looks for what is lost knows of those that wait at the broker.
    later = "SELECT max(due_at - ready_at) > interval '1 minute' FROM step WHERE workflow_id = %s"
    assert cluster.rows(later, begun["incident_id"]) == [(True,)]
    path = f"/{begun['incident_id']}"
    wait_until(lambda: _get(cluster, path)["counts"]["switched"] >= 2, 60, "the first users")
    stopped = _post(cluster, f"{path}/stop", None, 200)
    assert stopped["state"] == "stopped"
    switched = stopped["counts"]["switched"]
    assert switched == _on(cluster, names) < 120
    # Those whose turn came after the stop have ended without doing anything.
    later = "SELECT count(*) FROM step WHERE workflow_id = %s AND task = 'celery.map' AND result LIKE '%%stopped%%'"
    wait_until(lambda: cluster.rows(later, begun["incident_id"])[0][0] > 0, 60, "a stopped step")
    assert _get(cluster, path)["counts"]["switched"] == switched == _on(cluster, names)

    _post(cluster, f"{path}/undo", None, 202)
    wait_until(lambda: _get(cluster, path)["state"] == "undone", 60, "the undo")
    assert _on(cluster, names) == 0


def test_those_of_a_country_are_chosen_by_command_and_application_alike(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]]
) -> None:
    """By where the pools found that they came from; the incident says what was asked for."""
    dutch, other = f"incident-{uuid4()}", f"incident-{uuid4()}"
    began = datetime.now(UTC).isoformat()
    assert cluster.ended(
        cluster.post(dutch, ip="145.97.39.155"), cluster.post(other, ip="84.56.1.2")
    ) == ["done", "done"]
    places = ("--country", "nl", "--network", "145.97.0.0/16", "--since", began)
    code, looked = operate(
        *("incident", "lockdown", "shop", "--switch", "require_step_up", *places, "--dry-run")
    )
    assert (code, looked["first"], looked["unplaced"]) == (0, [dutch], 0)
    query = {"switch": "require_step_up", "country": "NL", "since": began}
    assert _post(cluster, "", query | {"dry_run": True}, 200)["first"] == [dutch]
    begun = _post(cluster, "", query, 202)
    assert (begun["country"], begun["asn"], begun["network"]) == ("NL", None, None)
    wait_until(lambda: _get(cluster, f"/{begun['incident_id']}")["state"] == "done", 60, "its end")
    on = "SELECT user_id FROM switch WHERE is_on AND user_id = ANY (%s)"
    assert cluster.rows(on, [dutch, other]) == [(dutch,)]
    [waiting] = users(1)
    code, looked = operate(
        *("incident", "lockdown", "shop", "--switch", "require_step_up", "--country", "DE"),
        *("--since", began, "--dry-run"),
    )
    assert (code, looked["first"], waiting in looked["first"]) == (0, [other], False)
    assert looked["unplaced"] == 1


def test_other_tenants_incidents_are_not_there(
    cluster: Cluster, users: Callable[[int], list[str]]
) -> None:
    """For looking, stopping and taking back alike."""
    begun = _post(cluster, "", {"switch": "require_step_up", "users": users(1)}, 202)
    incident = begun["incident_id"]
    wait_until(lambda: _get(cluster, f"/{incident}")["state"] == "done", 60, "its end")
    cluster.rows("INSERT INTO tenant (id, name) VALUES ('theirs', 'Theirs') ON CONFLICT DO NOTHING")
    cluster.rows("UPDATE incident SET tenant_id = 'theirs' WHERE id = %s", incident)
    for method, path in (("GET", ""), ("POST", "/stop"), ("POST", "/undo")):
        answer = cluster.call(method, f"/v1/incidents/{incident}{path}")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "you have no incident of this id",
        )


@pytest.mark.parametrize("point", ["after_handler", "after_commit", "before_ack"])
def test_a_portion_whose_process_is_killed_is_done_once(
    cluster: Cluster,
    operate: Operate,
    users: Callable[[int], list[str]],
    tmp_path: Path,
    point: str,
) -> None:
    """Before its commit, behind it, and before its ack: each switch is flipped once, and each user told once."""
    names = users(60)
    marker = tmp_path / "killed"
    cluster.fleet.stop("maintenance")
    armed = {"DOORBELL_FAILPOINTS": f"{point}@celery.map={marker}"}
    dying = cluster.fleet.start("maintenance", **armed)
    try:
        code, begun = operate(
            *("incident", "lockdown", "shop", "--switch", "locked", "--yes", "--no-wait"),
            *("--users", _file(tmp_path, names)),
        )
        assert code == 0
        wait_until(lambda: dying.poll() is not None, 60, "the kill")
    finally:
        cluster.fleet.kill("maintenance")
        cluster.fleet.start("maintenance")
    assert marker.exists()
    incident = begun["incident_id"]
    wait_until(lambda: operate("incident", "show", incident)[1]["state"] == "done", 60, "its end")
    assert sorted(cluster.rows(FLIPS, incident)) == sorted((name, True) for name in names)
    told = cluster.rows(
        "SELECT user_id FROM notice WHERE incident_id = %s ORDER BY user_id", incident
    )
    assert told == [(name,) for name in sorted(names)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--users FILE, or --since TIME with --network CIDR, --asn ASN or --country CODE"),
        (("--network", "192.0.2.0/24"), "--since TIME"),
        (("--network", "192.0.2.1/24", "--since", "1h"), "has host bits set"),
        (("--network", "192.0.2.0/24", "--since", "soon"), "is no time"),
        (("--network", "192.0.2.0/24", "--since", "0s"), "--network: nobody signed in"),
        (("--asn", "AS64500"), "--since TIME"),
        (("--asn", "ASX", "--since", "1h"), "'ASX' is no autonomous system's number"),
        (("--asn", str(2**32), "--since", "1h"), "is no autonomous system's number"),
        (("--country", "Narnia", "--since", "1h"), "'Narnia' is no country's code"),
        (("--country", "nl", "--since", "0s"), "--country: nobody signed in"),
        (("--asn", "64500", "--country", "NL", "--since", "0s"), "--asn: no sign-in's provider"),
        (("--users", __file__, "--country", "NL"), "--users is not for"),
        (("--users", "/nowhere/users.txt"), "--users /nowhere/users.txt cannot be read"),
        (("--users", __file__, "--rate", "0"), "is no rate"),
        (("--users", __file__, "--for", "0s"), "'--for': '0s' is too short"),
        (("--users", __file__, "--for", "11000d"), "'--for': '11000d' is too long"),
        (("--users", __file__, "--reason", ""), "'--reason': say why"),
        (("--users", __file__, "--reason", "a\nb"), "'--reason': write one line"),
        (("--users", __file__, "--yes"), "--users: none of these users has ever logged in"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_begins(
    cluster: Cluster, operate: Operate, arguments: tuple[str, ...], said: str
) -> None:
    """The option, and what to do."""
    before = cluster.rows("SELECT count(*) FROM incident")
    code, told = operate("incident", "lockdown", "shop", "--switch", "locked", *arguments)
    assert (code, said in told) == (2, True), told
    assert cluster.rows("SELECT count(*) FROM incident") == before


def test_a_line_that_can_be_no_name_is_named(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """The database cannot store NUL: nobody else of the file is locked, and its line can be looked at."""
    names = users(1)
    file = _file(tmp_path, [*names, "a\0b"])
    for command in (
        ("incident", "lockdown", "shop", "--switch", "locked", "--users", file, "--yes"),
        ("users", "lock", "shop", "--file", file, "--yes"),
    ):
        code, told = operate(*command)
        assert (code, f"{file}: line 2 " in told, _on(cluster, names)) == (2, True, 0), told


def test_incidents_of_a_tenant_that_is_not_there_are_not_found(operate: Operate) -> None:
    """It is not told as a tenant without any."""
    code, told = operate("incident", "list", "--tenant", "shpo")
    assert (code, "no tenant shpo" in told) == (4, True)


def test_nobody_is_locked_unasked(
    cluster: Cluster, operate: Operate, users: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Where nobody can be asked, it has to be said."""
    names = users(1)
    file = _file(tmp_path, names)
    code, told = operate("incident", "lockdown", "shop", "--switch", "locked", "--users", file)
    assert (code, "--yes" in told, _on(cluster, names)) == (2, True, 0)
    for act in ("show", "stop", "undo"):
        assert operate("incident", act, str(uuid4()))[0] == 4


def _wait_until_sent(cluster: Cluster, incident: str, count: int) -> None:
    sent = "SELECT count(*) FROM notice WHERE incident_id = %s AND state = 'sent'"
    wait_until(lambda: cluster.rows(sent, incident) == [(count,)], 60, "its mails")


def _maps(shown: dict[str, Any]) -> list[tuple[str, int]]:
    steps = shown["steps"]
    return [(it["maps"], it["items"]) for it in steps if it["task"] == "celery.map"]


def _queues(cluster: Cluster, incident: str) -> set[tuple[Any, ...]]:
    planned = "SELECT task, queue FROM step WHERE workflow_id = %s AND position IS NOT NULL"
    return set(cluster.rows(planned, incident))


def _get(cluster: Cluster, path: str) -> Incident:
    answer = cluster.call("GET", f"/v1/incidents{path}")
    assert answer.status_code == 200, answer.text
    found: Incident = answer.json()
    return found


def _post(cluster: Cluster, path: str, body: Any, status: int) -> Incident:
    answer = cluster.call("POST", f"/v1/incidents{path}", body)
    assert answer.status_code == status, answer.text
    found: Incident = answer.json()
    return found
