"""Restores with the programs and settings of roles backup and postgresql."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.ansible.backup_hosts import (
    BackupHost,
    go_on,
    moment,
    receive,
    restore,
    rows_of,
    stop_with_all_wal,
    wait_for_wal,
    write,
)
from tests.integration.ansible.database_hosts import (
    DEADLINE_SECONDS,
    ROLES,
    DatabaseHost,
    DatabaseHosts,
)

# The first one waits for Ansible to render the files of all.
pytestmark = pytest.mark.timeout(300)


def _lose(primary: DatabaseHost, standby: DatabaseHost) -> None:
    """The primary's host is lost, and its standby promoted."""
    primary.kill()
    peers = f"{standby.peers} dbname=postgres"
    standby.run(ROLES / "postgresql/files/promote_standby", str(standby.hosts.port), peers)


def test_a_restore_goes_to_a_time_and_to_the_end(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """Through a promotion: what was committed is there up to that time and no further, or all of it."""
    primary, standby = hosts.make_pair()
    write(hosts, 1)
    receive(hosts, backup_host)
    assert len(backup_host.bases()) == 1, backup_host.log()
    write(hosts, 2)
    before = moment()
    write(hosts, 3)
    wait_for_wal(hosts, backup_host, primary)

    _lose(primary, standby)
    hosts.wait(backup_host.has_ended, "the receiver does not notice that the primary is gone")
    receive(hosts, backup_host)
    write(hosts, 4)
    after = moment()
    write(hosts, 5)
    wait_for_wal(hosts, backup_host, standby)
    standby.kill()

    restore(primary, backup_host)
    assert rows_of(hosts) == {1, 2, 3, 4, 5}
    primary.stop()
    restore(primary, backup_host, after)
    assert rows_of(hosts) == {1, 2, 3, 4}
    primary.stop()
    restore(primary, backup_host, before)
    assert rows_of(hosts) == {1, 2}


def test_what_a_restore_undid_can_still_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore to too early a time a later one is reached, and so is what came after that restore."""
    primary, _ = hosts.make_pair()
    write(hosts, 1)
    receive(hosts, backup_host)
    too_early = moment()
    write(hosts, 2)
    meant = moment()
    write(hosts, 3)
    stop_with_all_wal(hosts, backup_host, primary)
    hosts.clear_databases()
    restore(primary, backup_host, too_early)
    assert rows_of(hosts) == {1}

    go_on(hosts, backup_host, primary)
    write(hosts, 4)
    between = moment()
    write(hosts, 5)
    stop_with_all_wal(hosts, backup_host, primary)
    restore(primary, backup_host, meant)
    assert rows_of(hosts) == {1, 2}

    go_on(hosts, backup_host, primary)
    write(hosts, 6)
    stop_with_all_wal(hosts, backup_host, primary)
    restore(primary, backup_host, between)
    assert rows_of(hosts) == {1, 4}
    primary.stop()
    first = min(path.name for path in backup_host.directory.glob("wal.until-*"))
    for to, rows in ("", {1, 2, 6}), (first, {1, 2, 3}):
        restore(primary, backup_host, to)
        assert rows_of(hosts) == rows
        primary.stop()


def test_what_came_between_a_restore_and_its_base_backup_can_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """The archive goes back to the restore itself, though it begins with a base backup that ends later."""
    primary, _ = hosts.make_pair()
    write(hosts, 1)
    receive(hosts, backup_host)
    write(hosts, 2)
    early = moment()
    write(hosts, 3)
    stop_with_all_wal(hosts, backup_host, primary)
    hosts.clear_databases()
    restore(primary, backup_host, early)
    assert rows_of(hosts) == {1, 2}

    hosts.make_objects(primary)
    write(hosts, 4)
    between = moment()
    write(hosts, 5)
    receive(hosts, backup_host)
    write(hosts, 6)
    stop_with_all_wal(hosts, backup_host, primary)
    restore(primary, backup_host, between)
    assert rows_of(hosts) == {1, 2, 4}


def test_what_is_written_while_a_base_backup_is_verified_can_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """Segments that began and ended between the first base backup's end and its check's are in the archive."""
    primary, _ = hosts.make_pair()
    write(hosts, 1)
    begun, may_end = backup_host.verify_slowly()
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(receive, hosts, backup_host)
        hosts.wait(begun.exists, "no base backup is verified")
        for row in (2, 3, 4):
            write(hosts, row)
            primary.sql("SELECT pg_switch_wal()")
        may_end.touch()
        receiving.result(DEADLINE_SECONDS)
    write(hosts, 5)
    stop_with_all_wal(hosts, backup_host, primary)
    hosts.clear_databases()

    # To PostgreSQL a gap is the end.
    *_, lost, _ = sorted((backup_host.directory / "wal").glob("[0-9A-F]*"))
    elsewhere = lost.rename(backup_host.directory / lost.name)
    refused = backup_host.run("choose_base_backup")
    assert refused.returncode == 1
    assert f"segment {lost.name[8:]} of timeline 1 is missing" in refused.stderr
    assert "restore_up_to_gap=true" in refused.stderr
    assert backup_host.run("choose_base_backup", RESTORE_UP_TO_GAP="true").returncode == 0
    elsewhere.rename(lost)

    restore(primary, backup_host)
    assert rows_of(hosts) == {1, 2, 3, 4, 5}


def test_wal_that_a_newer_backup_needs_outlives_older_ones(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore the new timeline is behind the undone one, whose base backups are the older ones all the same."""
    primary, _ = hosts.make_pair()
    write(hosts, 1)
    receive(hosts, backup_host)
    early = moment()
    for row in (2, 3, 4, 5):
        write(hosts, row)
        primary.sql("SELECT pg_switch_wal()")
    moment()
    assert backup_host.run("take_base_backup").returncode == 0
    stop_with_all_wal(hosts, backup_host, primary)
    hosts.clear_databases()
    restore(primary, backup_host, early)
    go_on(hosts, backup_host, primary)
    write(hosts, 6)
    meant = moment()
    write(hosts, 7)
    assert backup_host.run("take_base_backup", BACKUP_KEEP="3").returncode == 0
    assert len(backup_host.bases()) == 3
    stop_with_all_wal(hosts, backup_host, primary)
    restore(primary, backup_host, meant)
    assert rows_of(hosts) == {1, 6}


def test_a_restore_to_nowhere_is_refused(hosts: DatabaseHosts, backup_host: BackupHost) -> None:
    """With what to write instead."""
    hosts.make_pair()
    receive(hosts, backup_host)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(sep=" ")
    for wanted, complaint in (
        ("yesterdey", "'yesterdey' is not a time; write it like"),
        (tomorrow, f"'{tomorrow}' is yet to come; leave it out"),
        ("12:00", "'12:00' is not a time"),
        ("2026-11-25 12:00 IST", "is not a time"),
        ("wal.until-20200101T000000Z", "there is no wal.until-20200101T000000Z in"),
        ("wal.until-20200101T000000Z/", "is not a time"),
        ("2020-01-01", "No base backup in /var/backups/doorbell/base ended before 2020-01-01"),
    ):
        chosen = backup_host.run("choose_base_backup", wanted)
        assert (chosen.returncode, chosen.stdout) == (1, "")
        assert complaint in chosen.stderr
