"""Each step's process dies by SIGKILL at each point between handler and ack: every effect is there once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from services.runner.failpoints import POINTS
from tests.chaos.execution import places_of
from tests.chaos.receivers import SUSPECT
from tests.chaos.rig import Rig
from tests.support.cluster import IPHONE, WINDOWS
from tests.support.fleet import wait_until

CHECK = "device_checks.check_device"
NOTIFY = "notifications.notify_user"
SAVE = "db_writes.save_event"
SCORE = "external_api.score_login"
APPLY = "db_writes.apply_verdict"
DELIVER = "notifications.deliver_notice"
RECEIPT = "notifications.record_receipt"

EVERY_STEP = (CHECK, NOTIFY, SAVE, SCORE, APPLY, DELIVER, RECEIPT)
SENDS_MORE = (CHECK, SCORE, APPLY, DELIVER)

OTHER = {NOTIFY: SAVE, SAVE: NOTIFY}
"""The group's members: whoever commits last completes the join, and sends the body."""

ROUNDS = [
    ("after_handler", EVERY_STEP, None),
    ("after_commit", EVERY_STEP, None),
    ("after_first_publish", SENDS_MORE, None),
    ("after_last_publish", SENDS_MORE, None),
    ("before_ack", EVERY_STEP, None),
    *(
        (point, (last,), last)
        for point in (
            "after_join",
            "before_body_publish",
            "after_first_publish",
            "after_last_publish",
        )
        for last in (NOTIFY, SAVE)
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left(shared_rig: Rig) -> Iterator[None]:
    """At the end of all rounds no queue holds anything, ready or unacked."""
    yield
    assert not places_of(shared_rig).broker.left(30)


def test_every_point_has_its_round() -> None:
    """A failpoint that is added has to be tried here as well."""
    assert {point for point, _, _ in ROUNDS} == set(POINTS)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else "" if value else "any"


@pytest.mark.parametrize(("point", "tasks", "last"), ROUNDS, ids=_name)
def test_kills_at(rig: Rig, point: str, tasks: tuple[str, ...], last: str | None) -> None:
    """Each of these steps loses its process there once; the workflow ends done, each effect once.

    last: the member of the group that completes the join, for the other one has been done before;
    the device is new then, so that the user is told as well.
    """
    user = f"user-{uuid4().hex[:8]}"
    notices = 2 if last else 1
    assert rig.cluster.ended(rig.cluster.post(user, IPHONE)) == ["done"]
    before, calls = len(rig.supervisor.ends), len(rig.api.calls)

    markers = [rig.arm(point, task) for task in tasks]
    with _held_back(rig, last) as posted:
        workflow = rig.cluster.post(user, WINDOWS if last else IPHONE, auth_method=SUSPECT)
        posted(workflow)
    wait_until(lambda: all(marker.exists() for marker in markers), 60, f"not all died: {markers}")
    assert rig.cluster.ended(workflow) == ["done"]

    wait_until(lambda: len(rig.supervisor.ends) - before >= len(tasks), 10, "too few ends")
    ends = rig.supervisor.ends[before:]
    assert [end.status for end in ends] == [-signal.SIGKILL] * len(tasks)
    assert _effects(rig, workflow, user) == {
        "login": 1,
        "verdict": 1,
        "switch_change": 2,
        "notice": notices,
        "receipt": notices,
        "mails": notices,
    }
    # Before the commit the call has been made already: it is repeated under its key, and only then.
    is_repeated = point == "after_handler" and SCORE in tasks
    asked = [call.key for call in rig.api.calls[calls:]]
    assert asked == [workflow] * (2 if is_repeated else 1)


@contextmanager
def _held_back(rig: Rig, last: str | None) -> Iterator[Callable[[str], None]]:
    """Stop the pool of `last`; its processes go on when the other member of the group is done."""
    if last is None:
        yield lambda _: None
        return
    names = rig.supervisor.of_pool(last.partition(".")[0])
    for name in names:
        rig.supervisor.suspend(name)

    def wait_for_other(workflow: str) -> None:
        wait_until(lambda: _state(rig, workflow, OTHER[last]) == "done", 30, OTHER[last])

    try:
        yield wait_for_other
    finally:
        for name in names:
            rig.supervisor.resume(name)


def _state(rig: Rig, workflow: str, task: str) -> str:
    steps = rig.cluster.workflow(workflow)["steps"]
    return next(str(step["state"]) for step in steps if step["task"] == task)


def _effects(rig: Rig, workflow: str, user: str) -> dict[str, int]:
    tables = ("login", "verdict", "switch_change", "notice", "receipt")
    rows = {table: rig.cluster.count(table, workflow) for table in tables}
    # A process that dies while it sends something else too may send that again, under the same id.
    return rows | {"mails": len({mail["Message-ID"] for mail in rig.cluster.mails_to(user)})}
