"""Pages about what operators do, gone through as they stand on the cluster of a copy of this tree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.logins import Logins
from tests.e2e.waiting import wait_until
from tests.gamedays import changes
from tests.gamedays.following import END_SECONDS, follow, report, wait_for, wait_for_canary
from tests.gamedays.grounds import ROOT, Grounds, grounds
from tests.gamedays.inbox import Inbox
from tests.gamedays.intruders import refusing_api

pytestmark = pytest.mark.timeout(1800)

_TENANT = "demo"


@pytest.fixture(scope="module")
def fresh(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """A checkout of somebody's own, its cluster up; logins come in all the time."""
    directory = tmp_path_factory.mktemp("operations")
    tree = changes.copy_of(ROOT, directory)
    with grounds(box, directory, tree) as found, Logins(found.endpoints):
        yield found
    shutil.rmtree(tree)


def doorbell(ground: Grounds, words: str) -> str:
    return ground.run(f".venv/bin/doorbell {words}")


def consumers(ground: Grounds) -> dict[str, int]:
    """How many consume each queue."""
    listed = ground.rabbitmqctl("-q", "-p", "doorbell", "list_queues", "name", "consumers")
    rows = [line.split("\t") for line in listed.splitlines() if "\t" in line]
    return {name: int(number) for name, number in rows if number.isdigit()}


def test_a_queue_is_added_and_taken_away(fresh: Grounds) -> None:
    """Its work goes through it, and later through its pool's other queue; what was sent meanwhile ends."""
    changes.add_queue(fresh.root)
    follow(fresh, "add-a-queue", "Change the topology", "checkout")
    follow(fresh, "add-a-queue", "Bring it in")

    wait_until(lambda: consumers(fresh).get("unscored") == 1, END_SECONDS, "its consumer")
    doorbell(fresh, "topology verify")
    with refusing_api(fresh):
        workflow = report(fresh, "refused").json()["workflow_id"]
        unscored = (
            "SELECT queue, state FROM step WHERE task = 'db_writes.record_unscored'"
            f" AND workflow_id = '{workflow}'"
        )
        wait_until(
            lambda: fresh.rows(unscored) == [("unscored", "done")],
            END_SECONDS,
            "the login to be recorded without a score",
        )

    changes.stop_using_queue(fresh.root)
    follow(fresh, "add-a-queue", "Change the topology", "checkout")
    follow(fresh, "add-a-queue", "Bring it in")
    changes.take_queue_away(fresh.root)
    follow(fresh, "add-a-queue", "Change the topology", "checkout")
    follow(fresh, "add-a-queue", "Bring it in")
    follow(fresh, "add-a-queue", "Take one away", NAME="unscored")
    wait_for(fresh, report(fresh, "afterwards").json()["workflow_id"])


def test_a_queues_arguments_are_changed(fresh: Grounds) -> None:
    """Nothing that waited in the queue is lost with it."""
    changes.change_arguments(fresh.root)
    fresh.run(".venv/bin/python -m routing render && make up")
    with pytest.raises(AssertionError, match="delivery"):
        doorbell(fresh, "topology verify")
    doorbell(fresh, "pool drain db_writes")
    waiting = [report(fresh, f"waits-{number}").json()["workflow_id"] for number in range(20)]

    follow(fresh, "change-a-queues-arguments", "Make it anew")

    doorbell(fresh, "topology verify")
    for workflow in waiting:
        wait_for(fresh, workflow)


def test_a_pool_is_added(fresh: Grounds) -> None:
    """Its processes run with rights of their own, and the canary goes through them too."""
    changes.add_pool(fresh.root)
    follow(fresh, "add-a-pool", "In the code", "checkout")
    follow(fresh, "add-a-pool", "Bring it in")

    doorbell(fresh, "topology verify")
    pools = json.loads(doorbell(fresh, "pool list --json"))
    assert "archive" in json.dumps(pools)
    wait_until(lambda: consumers(fresh).get("archive") == 1, END_SECONDS, "its consumer")
    wait_for_canary(fresh)


def test_an_applications_key_is_rotated(fresh: Grounds) -> None:
    """Both are good until the old one is taken away."""
    old = fresh.endpoints["api_key"]
    printed = follow(fresh, "rotate-api-keys", "A new key", TENANT=_TENANT)
    new = printed.split()[-1]
    assert report(fresh, "with-old", old).status_code == 202
    assert report(fresh, "with-new", new).status_code == 202

    keys = json.loads(doorbell(fresh, f"key list {_TENANT} --json"))
    [second, *_] = sorted(keys, key=lambda key: str(key["created_at"]), reverse=True)
    # The cluster's own application keeps its key: the new one is taken away instead.
    follow(fresh, "rotate-api-keys", "Take the old one away", KEY=second["key"])
    wait_until(lambda: report(fresh, "too-late", new).status_code == 401, 15, "the key to end")
    assert report(fresh, "with-old", old).status_code == 202


def test_users_are_locked_and_unlocked(fresh: Grounds) -> None:
    """In bulk, from a file; the dry run afterwards finds nobody."""
    names = [f"stolen-{number}" for number in range(3)]
    for name in names:
        wait_for(fresh, report(fresh, name).json()["workflow_id"])
    (fresh.root / "users.txt").write_text("".join(f"{name}\n" for name in names))
    # Policy locks others meanwhile: the logins that come in are many from two devices each.
    locked = (
        "SELECT count(*) FROM switch WHERE name = 'locked' AND is_on AND user_id LIKE 'stolen-%'"
    )

    printed = follow(fresh, "lock-users", "Lock them", shop=_TENANT)
    assert "3 users" in printed
    assert fresh.rows(locked) == [(3,)]

    those = "users unlock --younger-than 2h --dry-run --json || true"
    assert "stolen-0" in doorbell(fresh, those)

    follow(fresh, "unlock-users", "End the cause")
    follow(fresh, "unlock-users", "Unlock them")
    follow(fresh, "unlock-users", "When the API is mended")
    assert fresh.rows(locked) == [(0,)]
    assert "stolen-" not in doorbell(fresh, those)


def test_a_task_is_paused_and_slowed_down(fresh: Grounds) -> None:
    """Its steps are parked, and go on when it is resumed."""
    follow(fresh, "pause-a-task", "Pause")
    follow(fresh, "pause-a-task", "Slow it down")
    workflow = report(fresh, "no-notice").json()["workflow_id"]
    wait_for(fresh, workflow)
    parked = (
        "SELECT count(*) FROM step WHERE task = 'notifications.deliver_notice' AND state = 'parked'"
    )
    wait_until(lambda: fresh.rows(parked) != [(0,)], END_SECONDS, "a notice to be parked")

    follow(fresh, "pause-a-task", "Resume")
    wait_until(lambda: fresh.rows(parked) == [(0,)], END_SECONDS, "the notices to go out")
