"""Both databases are lost with their disks: fresh hosts get everything back from the backup."""

from __future__ import annotations

import time

import pytest

from tests.hosts.installation import Installation
from tests.hosts.test_losses import primary_of

pytestmark = pytest.mark.timeout(1800)

DATABASES = ("database1", "database2")

_WAL_SECONDS = 10.0


def test_a_backup_is_restored_onto_fresh_hosts(installation: Installation) -> None:
    """Base backup and WAL bring back every login that was accepted, those after the base backup too."""
    fleet, controller = installation.fleet, installation.controller
    installation.calm()
    with installation.under_load() as run:
        controller.play("backup")
        time.sleep(20.0)
    run.expect_well()
    time.sleep(_WAL_SECONDS)

    for host in DATABASES:
        fleet.kill(host)
    fleet.remove(*DATABASES)
    for host in DATABASES:
        controller.forget(host)
    fleet.create(DATABASES)
    controller.play("site", "--tags=base,certificates,firewall")
    began = time.monotonic()
    controller.play("restore", restore_host="database1")
    print(f"restore.yml took {time.monotonic() - began:.0f} s")
    fleet.run("checks1", "doorbell", "ledger", "republish", "--older-than", "1s")

    assert primary_of(installation) == "database1"
    installation.judge(run)
    run.expect_well()

    controller.play(
        "site", "--limit=databases,backups", "--extra-vars=postgresql_rebuild_standby=true"
    )
    installation.calm()
    with installation.under_load() as after:
        time.sleep(20.0)
    after.expect_well()
    assert controller.play("site").changes == []
