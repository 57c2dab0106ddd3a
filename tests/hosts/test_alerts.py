"""Alerts of hosts under load, of which no login is lost; and what hosts tell Prometheus of themselves."""

from __future__ import annotations

import time

import pytest

from tests.e2e.waiting import wait_until
from tests.gamedays.day import MEND_SECONDS, mend
from tests.gamedays.inbox import Told
from tests.gamedays.runbook import read
from tests.hosts.grounds import Hosted
from tests.hosts.installation import Installation

pytestmark = pytest.mark.timeout(2700)

_PAGE_SECONDS = 90.0
_SHOWN_SECONDS = 30.0


def expect_over(ground: Hosted, told: Told) -> None:
    """The page's Verify holds within five minutes of its being opened, and whoever was told hears the all-clear."""
    ground.wait_for(read(told.alert).conditions(), MEND_SECONDS - (time.time() - told.at))
    print(f"{told.alert}: mended {time.time() - told.at:.0f} s after it was told")
    wait_until(
        lambda: ground.box.find(told.alert, "resolved", told.at) is not None,
        900,
        f"the all-clear of {told.alert}",
    )


def expect_told(ground: Hosted, alert: str, began: float) -> Told:
    """Wait for the news of an alert.

    Raises:
        AssertionError: it did not come, or its condition was not there within half a minute.
    """
    wait_until(
        lambda: ground.box.find(alert, "firing", began) is not None,
        _PAGE_SECONDS,
        f"{alert} to be told",
    )
    told = ground.box.find(alert, "firing", began)
    assert told is not None
    shown = ground.shown_since(told.labels) - began
    print(f"{alert}: shown {shown:.0f} s, told {told.at - began:.0f} s after the fault")
    assert shown < _SHOWN_SECONDS
    return told


def test_two_brokers_of_three_are_lost(whole: Installation, ground: Hosted) -> None:
    """The third pauses; logins are accepted meanwhile, and none is lost."""
    with whole.under_load() as run:
        whole.world.note("kill", "rabbitmq")
        for broker in ("broker2", "broker3"):
            whole.fleet.run(broker, "systemctl", "stop", "rabbitmq-server")
        began = time.time()
        told = expect_told(ground, "BrokerQuorumLost", began)
        mend(ground, read(told.alert), told.labels)
        whole.world.note("back", "rabbitmq")
        expect_over(ground, told)
    run.expect_well()
    assert run.found.held_off == 0


def test_no_door_is_open(whole: Installation, ground: Hosted) -> None:
    """The gateways are well behind proxies that have stopped; applications wait, and no login is lost."""
    gateways = ("gateway1", "gateway2")
    with whole.under_load() as run:
        whole.world.note("kill", "gateway")
        for gateway in gateways:
            whole.fleet.run(gateway, "systemctl", "stop", "haproxy")
        began = time.time()
        told = expect_told(ground, "DoorClosed", began)
        mend(ground, read(told.alert), told.labels)
        whole.world.note("back", "gateway")
        expect_over(ground, told)
    run.expect_well()


def test_a_pool_gets_a_process_more(whole: Installation, ground: Hosted) -> None:
    """Its number is raised in the inventory, then the page's command runs it, and has Prometheus look at it."""
    running = 'count(up{job="workers", pool="db_writes"} == 1)'
    page, pool = read("QueueWillNotClear"), {"pool": "db_writes"}
    before = ground.value(running)
    assert before
    raised = "{{ 2 if 'pool_db_writes' in group_names else 1 }}"
    whole.controller.set({"doorbell_processes": raised})
    try:
        mend(ground, page, pool)
        wait_until(lambda: ground.value(running) == 2 * before, 120, "Prometheus to find them")
        assert ground.value('min(up{job="workers"})') == 1
    finally:
        whole.controller.set({"doorbell_processes": 1})
        mend(ground, page, pool)
    wait_until(lambda: ground.value(running) == before, 120, "Prometheus to forget them")


@pytest.mark.usefixtures("whole")
def test_every_host_tells_of_itself(ground: Hosted) -> None:
    """Its file systems, to the monitoring alone; each exporter is reached."""
    assert ground.value('min(up{job="hosts"})') == 1
    hosts = ground.value('count(count by (instance) (node_filesystem_avail_bytes{job="hosts"}))')
    assert hosts == ground.value('count(up{job="hosts"})')
