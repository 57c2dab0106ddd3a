"""What wakes nobody: pools that are restarted one after the other, a night without logins, and a busy day."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg
import pytest

from tests.chaos.load import Load, Mixture, make_reports
from tests.e2e.logins import Logins
from tests.e2e.reads import Reads
from tests.e2e.waiting import wait_until
from tests.gamedays.grounds import Grounds
from tests.gamedays.inbox import Inbox

pytestmark = pytest.mark.timeout(1800)

_CALM_SECONDS = 600.0
_AFTERMATH_SECONDS = 120.0
"""Pages come within 90 s of their cause."""
_IDLE_SECONDS = 600.0
_BUSY_SECONDS = 300.0
_PEAK_LOGINS = 3000
_OPEN_LOGINS = 150
"""While the peak is measured: work is always waiting, and no backlog makes lists longer than on a busy day."""
_SHARE_OF_PEAK = 0.8
_END_SECONDS = 300.0
_ENDED = """
SELECT count(*) FROM workflow WHERE accepted_at >= to_timestamp(%s) AND state <> 'accepted' AND name <> 'canary'
"""
_NOTICES = """
SELECT extract(epoch FROM sent_at - accepted_at)::float8 AS seconds
FROM notice JOIN workflow ON workflow.id = notice.workflow_id
WHERE notice.channel = 'email' AND notice.reason = 'new_device' AND sent_at IS NOT NULL
    AND accepted_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)
ORDER BY seconds
"""
_WELL = Mixture(marked=0.0, crowd=100)
"""Nobody whom the outlier API refuses: a dead letter is told of on any day.

The peak has as large a share of notices as what is compared with it.
"""


@pytest.fixture(autouse=True)
def calm(ground: Grounds) -> None:
    """Each day begins well."""
    wait_until(ground.is_calm, _CALM_SECONDS, "all to be calm before")


def watch(box: Inbox, began: float, seconds: float) -> None:
    """Fail as soon as somebody is woken."""
    until = time.time() + seconds
    wait_until(lambda: time.time() > until or bool(box.pages(began)), seconds + 60, "the day's end")
    assert box.pages(began) == []


def report(
    ground: Grounds, number: int, rate: float, is_full: Callable[[int], bool] = lambda _: False
) -> None:
    """Report logins at a rate; returns once each was answered."""
    endpoints = ground.endpoints
    reports = make_reports(number, seed=0, mixture=_WELL)
    load = Load(endpoints["gateway"], endpoints["api_key"], reports, rate, is_full=is_full)
    load.start()
    load.wait()
    assert [each.refusal for each in reports if each.workflow_id is None] == []


def peak_of(ground: Grounds) -> float:
    """Logins a second while so many are open at all times."""
    began = time.time()
    with psycopg.connect(ground.endpoints["database_url"], autocommit=True) as database:

        def is_full(sent: int) -> bool:
            [(ended,)] = database.execute(_ENDED, (began,)).fetchall()
            return sent - int(ended) >= _OPEN_LOGINS

        report(ground, _PEAK_LOGINS, 10_000, is_full)
    wait_for_the_end(ground)
    return _PEAK_LOGINS / (time.time() - began)


def wait_for_the_end(ground: Grounds) -> None:
    """Wait until no login's workflow is open."""
    open_logins = "SELECT count(*) FROM workflow WHERE state = 'accepted' AND name <> 'canary'"
    wait_until(lambda: ground.rows(open_logins) == [(0,)], _END_SECONDS, "the logins to end")


def test_pools_are_restarted(ground: Grounds, box: Inbox) -> None:
    """Each process of a pool in turn, while logins come in."""
    began = time.time()
    pools = [line.split()[0] for line in ground.supervise("status").splitlines() if ".1" in line]
    assert "db_writes.1" in pools, pools
    with Logins(ground.endpoints):
        for name in pools:
            ground.supervise("restart", name)
            watch(box, began, 5)
        watch(box, began, _AFTERMATH_SECONDS)


def test_a_night_without_logins(ground: Grounds, box: Inbox) -> None:
    """Ten minutes in which nothing but the canary comes."""
    watch(box, time.time(), _IDLE_SECONDS)


def test_a_busy_day(ground: Grounds, box: Inbox) -> None:
    """Five minutes of four fifths of what the cluster has just been seen to work off; no login waits at the end."""
    peak = peak_of(ground)
    wait_until(ground.is_calm, _CALM_SECONDS, "all to be calm after the peak")
    rate = _SHARE_OF_PEAK * peak
    print(f"peak {peak:.0f} logins a second; now {rate:.0f} for {_BUSY_SECONDS:.0f} s")
    began = time.time()
    with Reads(ground.endpoints) as reads:
        report(ground, int(rate * _BUSY_SECONDS), rate)
    seconds = time.time() - began
    print(f"reported in {seconds:.0f} s")
    print(f"switches were read in {_shares(sorted(reads.seconds))}")
    watch(box, began, _AFTERMATH_SECONDS)
    wait_for_the_end(ground)
    notices = [row[0] for row in ground.rows(_NOTICES, began, began + seconds)]
    assert notices, "nobody was told of anything"
    print(f"from the POST's acceptance to the mail server's: {_shares(notices)}")


def _shares(rising: Sequence[float]) -> str:
    half, most = (1000 * rising[int(len(rising) * share)] for share in (0.5, 0.99))
    longest = 1000 * rising[-1]
    return f"{half:.0f} ms (half), {most:.0f} ms (99 of 100), {longest:.0f} ms (all {len(rising)})"
