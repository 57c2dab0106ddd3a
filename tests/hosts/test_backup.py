"""Both databases are lost with their disks: fresh hosts get everything back from the backup."""

from __future__ import annotations

import time
from datetime import UTC, datetime

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


def test_a_restore_to_too_early_a_time_is_not_the_last_word(installation: Installation) -> None:
    """What the first one undid is there for a second, to the time that was meant."""
    _write(installation, "CREATE TABLE marker AS SELECT 1 AS id")
    too_early = _moment()
    _write(installation, "INSERT INTO marker VALUES (2)")
    meant = _moment()
    _write(installation, "INSERT INTO marker VALUES (3)")
    time.sleep(_WAL_SECONDS)
    for moment, rows in ((too_early, "1"), (meant, "1,2")):
        for host in DATABASES:
            installation.fleet.run(host, "systemctl", "stop", "postgresql")
        installation.controller.play("restore", restore_host="database1", restore_to=moment)
        assert (
            _write(installation, "SELECT string_agg(id::text, ',' ORDER BY id) FROM marker") == rows
        )
    _write(installation, "DROP TABLE marker")
    installation.controller.play(
        "site", "--limit=databases,backups", "--extra-vars=postgresql_rebuild_standby=true"
    )


def _write(installation: Installation, statement: str) -> str:
    """Have the primary run a statement as its own superuser."""
    psql = ("runuser", "--user=postgres", "--", "psql", "-qAt", "--dbname=doorbell", "-c")
    return installation.fleet.run(primary_of(installation), *psql, statement).strip()


def _moment() -> str:
    """A time that lies seconds away from both its neighbours, as an operator writes it."""
    time.sleep(2.0)
    moment = datetime.now(UTC).isoformat(sep=" ")
    time.sleep(2.0)
    return moment
