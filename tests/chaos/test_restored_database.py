"""The database is put back to a moment before what the queues hold."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from routing.load import load as load_topology
from routing.topology import dead_queue_name
from tests.chaos.commands import doorbell
from tests.chaos.evidence import Evidence, Ledger, mails, wait_until_ended
from tests.chaos.execution import places_of
from tests.chaos.expectations import check_notices, check_rows, check_steps, check_workflows
from tests.chaos.findings import Findings
from tests.chaos.load import Load, Report
from tests.chaos.rig import Rig
from tests.chaos.scenario import Run
from tests.support.cluster import KEY
from tests.support.faults.backup import Backup
from tests.support.fleet import wait_until

_USERS = 120
_RATE = 8.0
_END_SECONDS = 150.0
_LOOKS_SECONDS, _RETURN_SECONDS = 60.0, 10.0


def _reports(users: Sequence[str], browser: str) -> list[Report]:
    """One login of each user, with that browser."""
    return [
        Report(
            {
                "event_id": str(uuid4()),
                "user_id": user,
                "occurred_at": datetime.now(UTC).isoformat(),
                "ip": "203.0.113.7",
                "user_agent": f"{browser}/1.0",
                "email": f"{user}@example.org",
            }
        )
        for user in users
    ]


def _loading(rig: Rig, reports: Sequence[Report]) -> Load:
    load = Load(rig.gateway_url, KEY, reports, _RATE)
    load.start()
    return load


def _evidence(rig: Rig, reports: Sequence[Report]) -> Evidence:
    return Evidence(places_of(rig), reports, list, list, [], may_hold_off=True)


def _end(rig: Rig, reports: Sequence[Report]) -> None:
    assert wait_until_ended(_evidence(rig, reports), _END_SECONDS), "some workflows stay open"


def _known(rig: Rig, reports: Sequence[Report]) -> list[Report]:
    """Those whose workflows the database knows."""
    ids = {workflow["id"] for workflow in Ledger(_evidence(rig, reports)).workflows}
    return [report for report in reports if report.workflow_id in ids]


@contextmanager
def _suspended(rig: Rig, pool: str) -> Iterator[None]:
    names = rig.supervisor.of_pool(pool)
    for name in names:
        rig.supervisor.suspend(name)
    try:
        yield
    finally:
        for name in names:
            rig.supervisor.resume(name)


def _put_back_under_load(rig: Rig, reports: Sequence[Report]) -> None:
    load = _loading(rig, reports)
    run = Run(rig, random.Random(0), load)
    with _suspended(rig, "device_checks"):
        # In the copy some devices are not checked yet: messages will come of steps that it has as planned.
        run.until_sent(0.2)
        backup = Backup(rig.postgres)
    try:
        # While nobody takes them, one pool's messages pile up: some of workflows that will be forgotten.
        idle = rig.supervisor.of_pool("external_api")
        with rig.supervisor.held(*idle):
            rig.supervisor.stop(*idle)
            run.until_sent(0.8)
            backup.restore()
    finally:
        backup.remove()
        load.wait()
    rig.wait_until_up()


@pytest.mark.timeout(400)
def test_the_database_is_put_back_under_load(rig: Rig) -> None:
    """What it knows ends done; of the rest nothing vanishes; who reports again is served.

    Mails of known workflows repeat under the same Message-ID at most.
    """
    users = [f"restored-{uuid4().hex[:8]}-{number}" for number in range(_USERS)]
    first, second = _reports(users, "First"), _reports(users, "Second")
    _loading(rig, first).wait()
    _end(rig, first)

    _put_back_under_load(rig, second)
    known = _known(rig, second)
    forgotten = [report for report in second if report not in known]
    assert known
    assert forgotten
    doorbell(rig, "ledger", "republish", "--older-than", "1s")
    _end(rig, known)

    assert places_of(rig).broker.left(60) == {}
    letters = _letters(rig)
    assert letters, "no message of a forgotten workflow was in the queues"
    assert not {step["id"] for step in Ledger(_evidence(rig, known)).all_steps} & letters

    _report_again(rig, forgotten)
    everything = [*first, *second]
    _end(rig, everything)
    _judge(rig, everything, {report.user_id for report in forgotten})


def _letters(rig: Rig) -> set[str]:
    """The ids of the dead letters, of which `doorbell dead list` shows as many as the queues hold.

    Asked again for a while: the broker moves a message into a dead-letter queue a
    little after its rejection, and gives back one by one what a look took out.
    """
    until = time.monotonic() + _LOOKS_SECONDS
    while True:
        listed = doorbell(rig, "dead", "list", "--limit", "0")
        assert not listed["stale"]
        letters = sum(dead["in_queue"] for dead in listed["dead"])
        try:
            wait_until(lambda: _ready(rig) == letters, _RETURN_SECONDS)  # noqa: B023
        except AssertionError:
            assert time.monotonic() < until, f"{letters} listed, but {_ready(rig)} in the queues"
        else:
            return {dead["id"] for dead in listed["dead"] if dead["in_queue"]}


def _ready(rig: Rig) -> int:
    """How many dead letters lie in their queues at this moment."""
    topology = load_topology()
    return sum(rig.node.peek(dead_queue_name(name), topology.vhost)[0] for name in topology.queues)


def _report_again(rig: Rig, reports: Sequence[Report]) -> None:
    for report in reports:
        report.workflow_id = None
    _loading(rig, reports).wait()
    assert all(report.workflow_id for report in reports)


def _judge(rig: Rig, reports: Sequence[Report], forgotten_users: set[str]) -> None:
    evidence = _evidence(rig, reports)
    ledger, found = Ledger(evidence), Findings()
    check_workflows(evidence, ledger, found)
    check_steps(ledger, found)
    check_rows(evidence, ledger, found)
    check_notices(evidence, ledger, found)
    assert found.is_well, found.explain()

    ours = {f"<{notice['id']}@doorbell>": notice["user_id"] for notice in ledger.notices}
    sent = mails(rig.maildir, {report.user_id for report in reports})
    assert set(ours) <= {mail.message_id for mail in sent}
    strange = [mail for mail in sent if mail.message_id not in ours]
    assert {mail.recipient.partition("@")[0] for mail in strange} <= forgotten_users
