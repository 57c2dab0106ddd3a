"""Backups and restores with the programs and settings of roles backup and postgresql."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.ansible.database_hosts import (
    DEADLINE_SECONDS,
    RESTORE_TO,
    ROLES,
    TIMELINE,
    DatabaseHost,
    DatabaseHosts,
)

# The first one waits for Ansible to render the files of all.
pytestmark = pytest.mark.timeout(300)

PROGRAMS = ROLES / "backup" / "files"


class BackupHost:
    """The host of group backups, with the environment that its units have."""

    def __init__(self, hosts: DatabaseHosts) -> None:
        self._hosts = hosts
        self.directory = hosts.directory / "backup1/var/backups/doorbell"
        lines = (hosts.directory / "backup1/environment").read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        self._environment = {
            **os.environ,
            **variables,
            "PGPASSFILE": "/var/lib/postgresql/replication.pgpass",
        }
        self._receiver: subprocess.Popen[bytes] | None = None

    def run(
        self, program: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._hosts.entering("backup1", "postgres"), str(PROGRAMS / program), *arguments],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=DEADLINE_SECONDS,
        )

    def receive(self) -> None:
        """Start the receiver of WAL, as its unit does."""
        with (self._hosts.directory / "backup1/log").open("ab") as log:
            self._receiver = subprocess.Popen(
                [*self._hosts.entering("backup1", "postgres"), str(PROGRAMS / "receive_wal")],
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def verify_slowly(self) -> tuple[Path, Path]:
        """Have checks of base backups take long: a file that is there once one has begun, one that lets it end."""
        binaries = self.directory / "binaries"
        binaries.mkdir()
        real = Path(self._environment["BACKUP_BINARIES"])
        for program in real.iterdir():
            (binaries / program.name).symlink_to(program)
        verify = binaries / "pg_verifybackup"
        verify.unlink()
        inside = "/var/backups/doorbell/binaries"
        verify.write_text(
            f"""#!/bin/sh
touch {inside}/begun
until [ -e {inside}/may_end ]; do sleep 0.05; done
exec {real}/pg_verifybackup "$@"
"""
        )
        verify.chmod(0o755)
        shutil.chown(binaries, "postgres", "postgres")
        self._environment["BACKUP_BINARIES"] = inside
        return binaries / "begun", binaries / "may_end"

    def stop(self) -> int | None:
        """Interrupt the receiver, as its unit does; returns its exit code, None if it was never started."""
        if self._receiver is None:
            return None
        if self._receiver.poll() is None:
            os.killpg(self._receiver.pid, signal.SIGINT)
        return self._receiver.wait(DEADLINE_SECONDS)

    def has_ended(self) -> bool:
        return self._receiver is not None and self._receiver.poll() is not None

    def bases(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "base").glob("*Z"))

    def is_receiving(self) -> bool:
        wal = self.directory / "wal"
        return any(wal.glob("*.partial")) and not (wal / "base_backup_is_due").exists()

    def log(self) -> str:
        return (self._hosts.directory / "backup1/log").read_text()[-2000:]


@pytest.fixture
def backup_host(hosts: DatabaseHosts) -> Iterator[BackupHost]:
    (hosts.directory / "backup1/log").write_text("")
    host = BackupHost(hosts)
    host.directory.mkdir()
    shutil.chown(host.directory, "postgres", "postgres")
    yield host
    host.stop()


def _receive(hosts: DatabaseHosts, backup_host: BackupHost) -> None:
    """Start the receiver, and again as its unit does when it has ended."""
    backup_host.receive()

    def receives() -> bool:
        if backup_host.has_ended():
            backup_host.receive()
        return backup_host.is_receiving()

    hosts.wait(receives, f"no WAL is received: {backup_host.log()}")


def _write(hosts: DatabaseHosts, *rows: int) -> None:
    with hosts.client() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS accepted (id bigint PRIMARY KEY)")
        connection.cursor().executemany(
            "INSERT INTO accepted VALUES (%s)", [(row,) for row in rows]
        )


def _rows(hosts: DatabaseHosts) -> set[int]:
    with hosts.client() as connection:
        return {row[0] for row in connection.execute("SELECT id FROM accepted")}


def _received(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """Wait until all that is committed is on the backup host's disk, or at least sent."""
    position = primary.sql("SELECT pg_current_wal_flush_lsn()")
    sent = f"SELECT bool_or(write_lsn >= '{position}') FROM pg_stat_replication WHERE application_name = 'backup'"
    hosts.wait(lambda: primary.sql(sent) == "t", f"WAL does not arrive: {backup_host.log()}", 30)


def _restore(
    host: DatabaseHost, backup_host: BackupHost, to: str = "", *, by_hand: bool = False
) -> None:
    """What restore.yml does on the host, with the same programs and settings.

    by_hand: the archive is not ended before.
    """
    chosen = backup_host.run("choose_base_backup", to)
    assert chosen.returncode == 0, chosen.stderr
    backup_host.stop()
    if not by_hand:
        ended = backup_host.run("set_wal_aside")
        assert ended.returncode == 0, ended.stderr
    base, segment, timeline, archive, time_of_it = chosen.stdout.split()
    host.run("rm", "-rf", host.data, "/var/lib/postgresql/restored-wal")
    for command, target in (
        (f"base {base}", host.data),
        (f"wal {segment} {archive}", Path("/var/lib/postgresql/restored-wal")),
    ):
        host.run("install", "-d", "-m", "0700", target)
        fetched = host.directory / "var/lib/postgresql/fetched.tar"
        serve = shlex.join(
            [*host.hosts.entering("backup1", "postgres"), str(PROGRAMS / "serve_backup")]
        )
        environment = {
            **os.environ,
            "SSH_ORIGINAL_COMMAND": command,
            "BACKUP_DIRECTORY": "/var/backups/doorbell",
        }
        subprocess.run(f"{serve} >{fetched}", shell=True, check=True, env=environment)
        host.run(
            "tar", "--extract", f"--directory={target}", "--file=/var/lib/postgresql/fetched.tar"
        )
    host.run("touch", host.data / "recovery.signal")
    restoring = (host.directory / "restore.conf").read_text().replace(TIMELINE, timeline)
    if time_of_it != "-":
        restoring = restoring.replace(RESTORE_TO, time_of_it)
    else:
        restoring = "".join(line for line in restoring.splitlines(True) if RESTORE_TO not in line)
    (host.directory / "restoring.conf").write_text(restoring)
    host.wait_for_nobody()
    host.start()
    host.hosts.wait(lambda: host.sql("SELECT pg_is_in_recovery()") == "f", f"no end: {host.log()}")
    (host.directory / "restoring.conf").unlink()


def _moment() -> str:
    """A time between two commits, as an operator writes it."""
    time.sleep(1.1)  # base backups are named by the second
    moment = datetime.now(UTC).isoformat(sep=" ")
    time.sleep(0.1)
    return moment


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
    _write(hosts, 1)
    _receive(hosts, backup_host)
    assert len(backup_host.bases()) == 1, backup_host.log()
    _write(hosts, 2)
    before = _moment()
    _write(hosts, 3)
    _received(hosts, backup_host, primary)

    _lose(primary, standby)
    hosts.wait(backup_host.has_ended, "the receiver does not notice that the primary is gone")
    _receive(hosts, backup_host)
    _write(hosts, 4)
    after = _moment()
    _write(hosts, 5)
    _received(hosts, backup_host, standby)
    standby.kill()

    _restore(primary, backup_host)
    assert _rows(hosts) == {1, 2, 3, 4, 5}
    primary.stop()
    _restore(primary, backup_host, after)
    assert _rows(hosts) == {1, 2, 3, 4}
    primary.stop()
    _restore(primary, backup_host, before)
    assert _rows(hosts) == {1, 2}


def _stop(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """What was committed is in the archive, and nobody commits any more."""
    _received(hosts, backup_host, primary)
    primary.stop()


def _go_on(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """A restored database is used again, and its WAL received."""
    hosts.make_objects(primary)
    _receive(hosts, backup_host)


def test_what_a_restore_undid_can_still_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore to too early a time a later one is reached, and so is what came after that restore."""
    primary, _ = hosts.make_pair()
    _write(hosts, 1)
    _receive(hosts, backup_host)
    too_early = _moment()
    _write(hosts, 2)
    meant = _moment()
    _write(hosts, 3)
    _stop(hosts, backup_host, primary)
    hosts.clear_databases()
    _restore(primary, backup_host, too_early)
    assert _rows(hosts) == {1}

    _go_on(hosts, backup_host, primary)
    _write(hosts, 4)
    between = _moment()
    _write(hosts, 5)
    _stop(hosts, backup_host, primary)
    _restore(primary, backup_host, meant)
    assert _rows(hosts) == {1, 2}

    _go_on(hosts, backup_host, primary)
    _write(hosts, 6)
    _stop(hosts, backup_host, primary)
    _restore(primary, backup_host, between)
    assert _rows(hosts) == {1, 4}
    primary.stop()
    first = min(path.name for path in backup_host.directory.glob("wal.until-*"))
    for to, rows in ("", {1, 2, 6}), (first, {1, 2, 3}):
        _restore(primary, backup_host, to)
        assert _rows(hosts) == rows
        primary.stop()


def test_what_came_between_a_restore_and_its_base_backup_can_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """The archive goes back to the restore itself, though it begins with a base backup that ends later."""
    primary, _ = hosts.make_pair()
    _write(hosts, 1)
    _receive(hosts, backup_host)
    _write(hosts, 2)
    early = _moment()
    _write(hosts, 3)
    _stop(hosts, backup_host, primary)
    hosts.clear_databases()
    _restore(primary, backup_host, early)
    assert _rows(hosts) == {1, 2}

    hosts.make_objects(primary)
    _write(hosts, 4)
    between = _moment()
    _write(hosts, 5)
    _receive(hosts, backup_host)
    _write(hosts, 6)
    _stop(hosts, backup_host, primary)
    _restore(primary, backup_host, between)
    assert _rows(hosts) == {1, 2, 4}


def test_what_is_written_while_a_base_backup_is_verified_can_be_restored(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """Segments that began and ended between the first base backup's end and its check's are in the archive."""
    primary, _ = hosts.make_pair()
    _write(hosts, 1)
    begun, may_end = backup_host.verify_slowly()
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(_receive, hosts, backup_host)
        hosts.wait(begun.exists, "no base backup is verified")
        for row in (2, 3, 4):
            _write(hosts, row)
            primary.sql("SELECT pg_switch_wal()")
        may_end.touch()
        receiving.result(DEADLINE_SECONDS)
    _write(hosts, 5)
    _stop(hosts, backup_host, primary)
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

    _restore(primary, backup_host)
    assert _rows(hosts) == {1, 2, 3, 4, 5}


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
    _receive(hosts, backup_host)
    assert len(backup_host.bases()) == 1


def test_wal_that_a_newer_backup_needs_outlives_older_ones(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore the new timeline is behind the undone one, whose base backups are the older ones all the same."""
    primary, _ = hosts.make_pair()
    _write(hosts, 1)
    _receive(hosts, backup_host)
    early = _moment()
    for row in (2, 3, 4, 5):
        _write(hosts, row)
        primary.sql("SELECT pg_switch_wal()")
    _moment()
    assert backup_host.run("take_base_backup").returncode == 0
    _stop(hosts, backup_host, primary)
    hosts.clear_databases()
    _restore(primary, backup_host, early)
    _go_on(hosts, backup_host, primary)
    _write(hosts, 6)
    meant = _moment()
    _write(hosts, 7)
    assert backup_host.run("take_base_backup", BACKUP_KEEP="3").returncode == 0
    assert len(backup_host.bases()) == 3
    _stop(hosts, backup_host, primary)
    _restore(primary, backup_host, meant)
    assert _rows(hosts) == {1, 6}


def test_a_restore_to_nowhere_is_refused(hosts: DatabaseHosts, backup_host: BackupHost) -> None:
    """With what to write instead."""
    hosts.make_pair()
    _receive(hosts, backup_host)
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


def test_an_archive_that_cannot_be_gone_on_with_is_set_aside(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """After a restore by hand a new archive begins with a base backup; the old one serves until it is not wanted."""
    primary, _ = hosts.make_pair()
    _write(hosts, 1)
    _receive(hosts, backup_host)
    before = _moment()
    for row in (2, 3):
        primary.sql("SELECT pg_switch_wal()")
        _write(hosts, row)
    _received(hosts, backup_host, primary)
    backup_host.stop()
    hosts.clear_databases()
    _restore(primary, backup_host, before, by_hand=True)
    assert _rows(hosts) == {1}

    hosts.make_objects(primary)
    backup_host.receive()
    hosts.wait(backup_host.has_ended, f"the receiver goes on: {backup_host.log()}")
    assert "is set aside" in backup_host.log()
    _receive(hosts, backup_host)
    assert len(backup_host.bases()) == 2
    _write(hosts, 4)
    _received(hosts, backup_host, primary)
    primary.kill()
    _restore(primary, backup_host)
    assert _rows(hosts) == {1, 4}


def test_only_as_many_backups_are_kept_as_asked_for(
    hosts: DatabaseHosts, backup_host: BackupHost
) -> None:
    """With the WAL since the oldest of them; one that is broken is not kept at all."""
    primary, _ = hosts.make_pair()
    _receive(hosts, backup_host)
    oldest = backup_host.bases()[0]
    for _ in range(2):
        primary.sql("SELECT pg_switch_wal()")
        _write(hosts, int(time.time() * 1000))
        _moment()
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
