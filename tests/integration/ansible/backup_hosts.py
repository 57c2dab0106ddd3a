"""The host of group backups, with what its units and restore.yml run on it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.integration.ansible.database_hosts import (
    DEADLINE_SECONDS,
    RESTORE_TO,
    ROLES,
    TIMELINE,
    DatabaseHost,
    DatabaseHosts,
)

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


def receive(hosts: DatabaseHosts, backup_host: BackupHost) -> None:
    """Start the receiver, and again as its unit does when it has ended."""
    backup_host.receive()

    def receives() -> bool:
        if backup_host.has_ended():
            backup_host.receive()
        return backup_host.is_receiving()

    hosts.wait(receives, f"no WAL is received: {backup_host.log()}")


def write(hosts: DatabaseHosts, *rows: int) -> None:
    with hosts.client() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS accepted (id bigint PRIMARY KEY)")
        connection.cursor().executemany(
            "INSERT INTO accepted VALUES (%s)", [(row,) for row in rows]
        )


def rows_of(hosts: DatabaseHosts) -> set[int]:
    with hosts.client() as connection:
        return {row[0] for row in connection.execute("SELECT id FROM accepted")}


def wait_for_wal(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """Wait until all that is committed is on the backup host's disk, or at least sent."""
    position = primary.sql("SELECT pg_current_wal_flush_lsn()")
    sent = f"SELECT bool_or(write_lsn >= '{position}') FROM pg_stat_replication WHERE application_name = 'backup'"
    hosts.wait(lambda: primary.sql(sent) == "t", f"WAL does not arrive: {backup_host.log()}", 30)


def restore(
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


def moment() -> str:
    """A time between two commits, as an operator writes it."""
    time.sleep(1.1)  # base backups are named by the second
    moment = datetime.now(UTC).isoformat(sep=" ")
    time.sleep(0.1)
    return moment


def stop_with_all_wal(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """What was committed is in the archive, and nobody commits any more."""
    wait_for_wal(hosts, backup_host, primary)
    primary.stop()


def go_on(hosts: DatabaseHosts, backup_host: BackupHost, primary: DatabaseHost) -> None:
    """A restored database is used again, and its WAL received."""
    hosts.make_objects(primary)
    receive(hosts, backup_host)
