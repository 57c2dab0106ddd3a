"""A user hears of a day once, whatever is killed; applications and operators see it, and may ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from services.domain.policy import DEFAULT
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until

SECONDS = 90
SetHour = Callable[[int], None]


@pytest.fixture
def set_hour(cluster: Cluster) -> Iterator[SetHour]:
    """Gives users a digest at an hour; the tenant has no policy afterwards."""

    def set_hour(hour: int) -> None:
        document = json.dumps(replace(DEFAULT, digest_hour=hour).to_document())
        cluster.rows("UPDATE tenant SET policy = %s WHERE id = 'shop'", document)

    yield set_hour
    cluster.rows("UPDATE tenant SET policy = NULL WHERE id = 'shop'")


def _yesterday(cluster: Cluster, user: str) -> None:
    """Two sign-ins on a computer and one on a phone, a day ago, where it is about noon now: far from midnight."""
    now = datetime.now(UTC)
    zone = f"Etc/GMT{now.hour - 12:+d}"
    workflows = [
        cluster.post(
            user,
            agent,
            occurred_at=(now - timedelta(days=1, minutes=ago)).isoformat(),
            time_zone=zone,
        )
        for ago, agent in ((3, WINDOWS), (2, WINDOWS), (1, IPHONE))
    ]
    assert cluster.ended(*workflows) == ["done"] * 3


def _mails(cluster: Cluster, user: str) -> list[EmailMessage]:
    """The digests that arrived."""
    mails = [
        message_from_bytes(mail.as_bytes(), policy=policy.default)
        for mail in cluster.mails_to(user)
    ]
    return [mail for mail in mails if mail["Subject"].startswith("Your sign-ins")]


def _turns(cluster: Cluster) -> int:
    [(turns,)] = cluster.rows(
        "SELECT count(*) FROM step WHERE task = 'maintenance.begin_digests' AND state = 'done'"
    )
    return int(turns)


POINTS = {
    "maintenance": [
        "after_handler@maintenance.begin_digests",
        "after_handler@maintenance.digest_device",
        "after_commit@maintenance.digest_others",
    ],
    "notifications": ["after_commit@notifications.record_digest"],
}


@pytest.fixture
def start_armed(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Starts a pool's process that dies once at each of its points; all live on afterwards."""

    def start(pool: str) -> None:
        armed = ",".join(f"{point}={tmp_path / point}" for point in POINTS[pool])
        cluster.fleet.start(pool, DOORBELL_FAILPOINTS=armed)

    yield start
    for pool in POINTS:
        if pool in cluster.fleet.processes:
            cluster.fleet.kill(pool)
        cluster.fleet.start(pool)


def test_whatever_is_killed_a_day_is_told_of_once(
    cluster: Cluster, set_hour: SetHour, start_armed: Callable[[str], None], tmp_path: Path
) -> None:
    """Beat begins it; processes die behind the handler or behind the commit of each of its steps."""
    set_hour(0)
    cluster.fleet.stop("maintenance")
    _yesterday(cluster, "heron-1")
    cluster.fleet.stop("notifications")
    for pool in POINTS:
        start_armed(pool)

    def has_come() -> bool:
        for pool in POINTS:
            if cluster.fleet.processes[pool].poll() is not None:
                start_armed(pool)
        return bool(_mails(cluster, "heron-1"))

    wait_until(has_come, SECONDS, "the digest")
    points = {point for of_pool in POINTS.values() for point in of_pool}
    assert {marker.name for marker in tmp_path.iterdir()} == points
    before = _turns(cluster)
    wait_until(lambda: _turns(cluster) > before, SECONDS, "another turn of beat's")

    [(workflow_id,)] = cluster.rows(
        "SELECT id FROM workflow WHERE name = 'digest' AND user_id = 'heron-1'"
    )
    assert cluster.ended(str(workflow_id)) == ["done"]
    [mail] = _mails(cluster, "heron-1")
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().count("Sign-ins: 2") == 1
    assert body.get_content().count("Sign-ins: 1") == 1
    notices = "SELECT state, attempts FROM notice WHERE reason = 'digest' AND user_id = 'heron-1'"
    assert cluster.rows(notices) == [("sent", 1)]


def test_an_application_and_an_operator_ask_for_one(
    cluster: Cluster, set_hour: SetHour, operate: Operate
) -> None:
    """Both have the same workflow, which is shown as any other; a dry run sends nothing."""
    path = "/v1/users/heron%2F2/digest"
    refused = cluster.call("POST", path)
    assert (refused.status_code, "digest: {hour: 8}" in refused.json()["detail"]) == (404, True)
    set_hour(23)
    _yesterday(cluster, "heron/2")

    code, shown = operate("users", "digest", "shop", "heron/2", "--dry-run")
    assert code == 0
    assert [(it["logins"], it["is_new"]) for it in shown["devices"]] == [(1, True), (2, True)]
    assert cluster.rows("SELECT workflow_id FROM digest WHERE user_id = 'heron/2'") == [(None,)]

    answer = cluster.call("POST", path)
    assert answer.status_code == 202
    workflow_id = answer.json()["workflow_id"]
    assert cluster.ended(workflow_id) == ["done"]
    assert cluster.call("POST", f"{path}?date={shown['day']}").json()["workflow_id"] == workflow_id
    code, again = operate("users", "digest", "shop", "heron/2", "--date", shown["day"])
    assert (code, again["workflow"]) == (0, workflow_id)

    found = cluster.workflow(workflow_id)
    assert (found["name"], found["user_id"]) == ("digest", "heron/2")
    planned = [step["task"] for step in found["steps"]][:4]
    assert planned == [
        *["maintenance.digest_device"] * 2,
        "maintenance.digest_others",
        "notifications.record_digest",
    ]
    assert {step["state"] for step in found["steps"]} == {"done"}
    wait_until(lambda: _mails(cluster, "heron/2"), SECONDS, "the digest")
    tomorrow = cluster.call("POST", f"{path}?date=2999-01-01")
    assert (tomorrow.status_code, tomorrow.json()["errors"][0]["field"]) == (422, "date")
    code, complaint = operate("users", "digest", "shop", "heron/2", "--date", "2020-01-01")
    assert (code, "no sign-in of user heron/2 of shop on 2020-01-01" in complaint) == (4, True)
