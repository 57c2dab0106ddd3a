"""Hosts join the fleet, are taken out and brought back while logins come in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.waiting import wait_until
from tests.hosts.installation import Installation

pytestmark = pytest.mark.timeout(1800)

NEW = "calls3"

_POOLS = ("notifications", "external_api")


def consumers(installation: Installation, pool: str) -> int:
    """How many processes take from a pool's queue, as the broker knows."""
    listed = installation.fleet.run(
        "broker1", "rabbitmqctl", "-q", "-p", "doorbell", "list_queues", "name", "consumers"
    )
    rows = dict(line.split() for line in listed.splitlines() if "\t" in line)
    return int(rows[pool])


def test_a_host_joins(whole: Installation, directory: Path) -> None:
    """add_host.yml makes a fresh host one more of its pools, with the fleet's own release; the others let it in."""
    before = {pool: consumers(whole, pool) for pool in _POOLS}
    whole.fleet.create([NEW])
    whole.controller.join(NEW, like="calls1")
    other = str(directory / "dist" / "next" / "doorbell.tar")
    refused = whole.controller.try_to_play("add_host", host=NEW, doorbell_release=other)
    assert refused.status
    assert "The fleet runs" in refused.output
    with whole.under_load() as run:
        whole.controller.play("add_host", host=NEW)
    run.expect_well()
    assert run.found.held_off == 0
    assert {pool: consumers(whole, pool) for pool in _POOLS} == {
        p: n + 1 for p, n in before.items()
    }


def test_a_host_is_taken_out_and_brought_back(whole: Installation) -> None:
    """drain_host.yml leaves nothing in its hands; the others do the work, and then it is one of them again."""
    before = {pool: consumers(whole, pool) for pool in _POOLS}
    with whole.under_load() as run:
        whole.controller.play("drain_host", host=NEW)
        drained = {pool: consumers(whole, pool) for pool in _POOLS}
        time.sleep(5.0)
        whole.controller.play("drain_host", host=NEW, undo=True)
    run.expect_well()
    assert run.found.held_off == 0
    assert drained == {pool: count - 1 for pool, count in before.items()}
    wait_until(
        lambda: {pool: consumers(whole, pool) for pool in _POOLS} == before, 60, "it to be back"
    )


def test_a_host_is_taken_out_while_another_one_is_dead(whole: Installation) -> None:
    """The dead one counts for nobody, and keeps nobody: the third does the work of both."""
    with whole.under_load() as run:
        whole.world.note("kill", *whole.pools_of("calls2"))
        whole.fleet.kill("calls2")
        whole.controller.play("drain_host", host=NEW)
        whole.controller.play("drain_host", host=NEW, undo=True)
    whole.fleet.start("calls2")
    run.expect_well()
    assert run.found.held_off == 0


def test_a_host_leaves(whole: Installation) -> None:
    """Drained, it can be switched off and forgotten; nothing misses it."""
    whole.controller.play("drain_host", host=NEW)
    whole.fleet.remove(NEW)
    whole.controller.leave(NEW)
    whole.controller.forget(NEW)
    whole.controller.play("site")
    with whole.under_load() as run:
        time.sleep(20.0)
    run.expect_well()
    assert whole.controller.play("site").changes == []
