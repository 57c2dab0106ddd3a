"""The main workflow from the door to the verdict, many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until


def test_many_at_once_end_done_with_every_effect_once(cluster: Cluster) -> None:
    """Each login is stored once; of logins on the same new device one is told, once."""
    users = [f"user-{uuid4().hex[:8]}" for _ in range(10)]
    assert set(cluster.ended(*[cluster.post(user, IPHONE) for user in users])) == {"done"}
    with ThreadPoolExecutor(8) as threads:
        workflows = list(threads.map(lambda user: cluster.post(user, WINDOWS), users * 5))

    assert set(cluster.ended(*workflows)) == {"done"}
    assert {cluster.count("login", workflow) for workflow in workflows} == {1}
    assert sum(cluster.count("notice", workflow) for workflow in workflows) == len(users)
    wait_until(lambda: all(len(cluster.mails_to(user)) == 1 for user in users), 30)


def test_siblings_do_not_deadlock(cluster: Cluster) -> None:
    """Members of one group commit side by side: PostgreSQL never has to choose a victim."""
    before = _deadlocks(cluster)
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(40)]

    assert set(cluster.ended(*workflows)) == {"done"}
    assert _deadlocks(cluster) == before


def test_a_new_device_leads_to_one_mail(cluster: Cluster) -> None:
    """The mail names the device; the notice is sent and its receipt kept."""
    user = f"user-{uuid4().hex[:8]}"
    cluster.ended(cluster.post(user, IPHONE))
    workflow = cluster.post(user, WINDOWS)

    assert cluster.ended(workflow) == ["done"]
    (mail,) = cluster.mails_to(user)
    (notice_id, state) = cluster.rows(
        "SELECT id, state FROM notice WHERE workflow_id = %s", workflow
    )[0]
    assert mail["Message-ID"] == f"<{notice_id}@doorbell>"
    assert state == "sent"
    assert "Firefox on Windows" in mail.as_string()


def _deadlocks(cluster: Cluster) -> int:
    rows = cluster.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(rows[0][0])
