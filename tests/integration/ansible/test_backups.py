"""Backups with the programs and settings of roles backup and postgresql."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.integration.ansible.backup_hosts import (
    BackupHost,
    moment,
    receive,
    restore,
    rows_of,
    wait_for_wal,
    write,
)
from tests.integration.ansible.database_hosts import DatabaseHosts

# The first one waits for Ansible to render the files of all.
pytestmark = pytest.mark.timeout(300)


def test_a_first_base_backup_that_was_stopped_is_taken_at_the_next_start(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """Whoever stops the receiver meanwhile is told of no failure."""
    hosts.make_pair()
    begun, may_end = backup_host.verify_slowly()
    backup_host.receive()
    hosts.wait(begun.exists, "no base backup is verified")
    assert backup_host.stop() == 0
    assert backup_host.bases() == []
    may_end.touch()
    receive(hosts, backup_host)
    assert len(backup_host.bases()) == 1


def test_an_archive_that_cannot_be_gone_on_with_is_set_aside(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore by hand a new archive begins with a base backup; the old one serves until it is not wanted."""
    primary, _ = hosts.make_pair()
    write(hosts, 1)
    receive(hosts, backup_host)
    before = moment()
    for row in (2, 3):
        primary.sql("SELECT pg_switch_wal()")
        write(hosts, row)
    wait_for_wal(hosts, backup_host, primary)
    backup_host.stop()
    hosts.clear_databases()
    restore(primary, backup_host, before, by_hand=True)
    assert rows_of(hosts) == {1}

    hosts.make_objects(primary)
    backup_host.receive()
    hosts.wait(backup_host.has_ended, f"the receiver goes on: {backup_host.log()}")
    assert "is set aside" in backup_host.log()
    receive(hosts, backup_host)
    assert len(backup_host.bases()) == 2
    write(hosts, 4)
    wait_for_wal(hosts, backup_host, primary)
    primary.kill()
    restore(primary, backup_host)
    assert rows_of(hosts) == {1, 4}


def test_only_as_many_backups_are_kept_as_asked_for(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """With the WAL since the oldest of them; one that is broken is not kept at all."""
    primary, _ = hosts.make_pair()
    receive(hosts, backup_host)
    oldest = backup_host.bases()[0]
    for _ in range(2):
        primary.sql("SELECT pg_switch_wal()")
        write(hosts, int(time.time() * 1000))
        moment()
        taken = backup_host.run("take_base_backup", BACKUP_KEEP="2")
        assert taken.returncode == 0, taken.stderr
    assert len(backup_host.bases()) == 2
    assert oldest not in backup_host.bases()
    segment = backup_host.run("choose_base_backup", "2000-01-01")
    assert segment.returncode == 1
    assert "ended before 2000-01-01" in segment.stderr
    status = backup_host.run("backup_status", "1")
    assert status.returncode == 0, status.stderr
    assert "base backups: 2" in status.stdout
    told = (backup_host.directory / "doorbell_backup.prom").read_text()
    subprocess.run(["promtool", "check", "metrics"], input=told, text=True, check=True)
    label = (backup_host.directory / "base" / backup_host.bases()[0] / "backup_label").read_text()
    first = label.split("(file ")[1][:24]
    segments = sorted(path.name for path in (backup_host.directory / "wal").iterdir())
    assert segments[0].removesuffix(".partial") >= first
    backup_host.stop()


def test_a_backup_host_serves_nothing_but_backups(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """The key of a restore opens no shell and no other file."""
    for wrong in (
        "",
        "sh",
        "base ../../etc",
        "base x; id",
        "wal ../../../etc/passwd",
        "base 20200101T000000Z",
    ):
        served = backup_host.run("serve_backup", SSH_ORIGINAL_COMMAND=wrong)
        assert served.returncode == 1
        assert served.stdout == ""
        assert served.stderr


def test_a_directory_of_another_database_is_not_mixed(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """WAL of a database that was made anew does not come among that of the one before it."""
    hosts.make_pair()
    (backup_host.directory / "system_identifier").write_text("1234\n")
    refused = backup_host.run("receive_wal")
    assert refused.returncode == 1
    assert "not the database whose backups" in refused.stderr
    assert not (backup_host.directory / "base").exists()
