"""Two database hosts and a backup host on one machine, with the files that the roles make for them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.postgres import find_binaries

REPOSITORY = Path(__file__).resolve().parents[3]
ROLES = REPOSITORY / "ansible" / "roles"
PASSWORD = "password-of-the-tests"
# Stands in the rendered files for the time that a test decides on later.
RESTORE_TO = "time-of-the-test"
TIMELINE = "timeline-of-the-test"
DEADLINE_SECONDS = 60.0

_ADDRESSES = {"database1": "127.20.0.1", "database2": "127.20.0.2", "backup1": "127.20.0.3"}
_PLAYBOOK = Path(__file__).with_name("render.yml")
# What a host has for itself, by the path at which its programs look for it.
_OWN = ("/etc/doorbell/tls", "/run/postgresql", "/var/lib/postgresql", "/var/backups")
# In a mount namespace of its own; as a user, and gone with the test. With signals as systemd gives them to a unit: what
# was started in a shell's background ignores some.
_ENTER = """
set -eu
host=$1 user=$2; shift 2
mount --bind "$host/hosts" /etc/hosts
for own in {own}; do mkdir -p "$own"; mount --bind "$host$own" "$own"; done
set -- env --default-signal HOME=/var/lib/postgresql "$@"
exec setpriv --reuid "$user" --regid "$user" --init-groups --pdeathsig KILL -- "$@"
"""


class DatabaseHost:
    """A host of group databases: its server is started and killed at will."""

    def __init__(self, name: str, hosts: DatabaseHosts) -> None:
        self.name = name
        self.hosts = hosts
        self.directory = hosts.directory / name
        self.log_file = self.directory / "log"
        self.data = Path("/var/lib/postgresql/data")
        self.peers = (self.directory / "peers").read_text()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> DatabaseHost:
        return next(each for each in self.hosts.databases if each is not self)

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as the user postgres of this host; its failure is the test's."""
        done = self.attempt(*command, **options)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def attempt(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.hosts.entering(self.name, "postgres"), *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=DEADLINE_SECONDS,
            **options,
        )

    def sql(self, statement: str) -> str:
        """Run a statement over this host's socket as the superuser."""
        port = f"--port={self.hosts.port}"
        return self.run(
            "psql", "-XAtq", "--set=ON_ERROR_STOP=1", port, input=statement
        ).stdout.strip()

    def initialise(self) -> None:
        self.run(
            *(find_binaries() / "initdb", "--auth-local=peer", "--no-sync", "--data-checksums"),
            *("--locale=C.UTF-8", "-D", self.data),
        )

    def wait_for_nobody(self) -> None:
        self.write_names("")

    def write_names(self, names: str) -> None:
        (self.directory / "synchronous.conf").write_text(f"synchronous_standby_names = '{names}'\n")

    def start(self) -> None:
        """Start the server with the role's settings and wait until it answers."""
        main = self.directory / "postgresql.conf"
        files = [self.directory / name for name in ("doorbell.conf", "synchronous.conf")]
        restore = self.directory / "restoring.conf"
        main.write_text(
            "".join(f"include '{file}'\n" for file in files) + f"include_if_exists '{restore}'\n"
            # The kernel keeps what was written when only processes die.
            "fsync = off\nfull_page_writes = off\n"
            f"listen_addresses = '{_ADDRESSES[self.name]}'\n"
            f"hba_file = '{self.directory}/pg_hba.conf'\nident_file = '/dev/null'\n"
        )
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self.hosts.entering(self.name, "postgres"),
                    *(str(find_binaries() / "postgres"), "-D", str(self.data)),
                    *("-c", f"config_file={main}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self.hosts.wait(self._answers, f"{self.name} does not answer: {self.log()}")

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """It runs, and answers nobody, until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def look(self) -> str:
        """What the role takes the host for."""
        command = ["sh", "-c", (self.directory / "look").read_text()]
        return subprocess.run(
            [*self.hosts.entering(self.name, "root"), *command],
            input="SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd="/",
            timeout=DEADLINE_SECONDS,
        ).stdout.strip()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(DEADLINE_SECONDS)
        self._process = None

    def kill(self) -> None:
        """End the server and all its sessions with SIGKILL, as a lost host would."""
        assert self._process is not None
        pid = self._process.pid
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.kill()
        for session in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session), signal.SIGKILL)
        self._process.wait(DEADLINE_SECONDS)
        self._process = None

    def copy_from_peer(self) -> None:
        """What the role does to make a host a standby."""
        self.run("rm", "-rf", self.data)
        self.run(
            *(find_binaries() / "pg_basebackup", f"--dbname={self.peers}", f"--pgdata={self.data}"),
            *("--wal-method=stream", "--checkpoint=fast", "--no-password", "--no-sync"),
        )
        self.run("touch", self.data / "standby.signal")

    def log(self) -> str:
        return self.log_file.read_text()[-3000:]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL ended at start: {self.log()}"
        return self.attempt("pg_isready", "--quiet", f"--port={self.hosts.port}").returncode == 0


class DatabaseHosts:
    """The hosts, with the files that the roles' templates make for them, and certificates."""

    def __init__(self) -> None:
        if os.getuid() != 0:
            pytest.skip("mount namespaces need root")
        self.directory = Path(tempfile.mkdtemp(prefix="doorbell-hosts-"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self._make_places()
        self._render()
        self.databases = [DatabaseHost(name, self) for name in ("database1", "database2")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        shutil.rmtree(self.directory)

    def clear(self) -> None:
        """Stop the servers and delete what they and the backup host hold."""
        self.clear_databases()
        shutil.rmtree(self.directory / "backup1/var/backups/doorbell", ignore_errors=True)

    def clear_databases(self) -> None:
        """Stop the servers and delete their data."""
        for host in self.databases:
            host.stop()
            shutil.rmtree(host.directory / "var/lib/postgresql/data", ignore_errors=True)
            host.log_file.write_text("")

    def client(self, **options: Any) -> psycopg.Connection[Any]:
        """Connect as Doorbell's processes do, with the names of both hosts."""
        addresses = [_ADDRESSES[host.name] for host in self.databases]
        parameters = {
            "host": ",".join(host.name for host in self.databases),
            "hostaddr": ",".join(addresses),
            "port": self.port,
            "user": "doorbell",
            "password": PASSWORD,
            "dbname": "doorbell",
            "sslmode": "verify-full",
            "sslrootcert": self.directory / "database1/etc/doorbell/tls/ca.crt",
            "target_session_attrs": "read-write",
            "connect_timeout": 5,
        }
        return psycopg.connect(**{**parameters, **options})

    def entering(self, name: str, user: str) -> list[str]:
        """What to put before a command so that it runs on that host, as that user."""
        script = _ENTER.replace("{own}", " ".join(_OWN))
        host = str(self.directory / name)
        return ["unshare", "--mount", "--", "sh", "-c", script, "enter", host, user]

    def make_pair(self) -> tuple[DatabaseHost, DatabaseHost]:
        """A primary whose commits wait for its standby, as the role makes them."""
        primary, standby = self.databases
        primary.initialise()
        primary.wait_for_nobody()
        primary.start()
        self.make_objects(primary)
        self.join(standby)
        return primary, standby

    def make_objects(self, primary: DatabaseHost) -> str:
        """Roles, database, slots; answers what was made."""
        made = primary.sql((primary.directory / "objects.sql").read_text())
        for role in ("doorbell", "replication"):
            primary.sql(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        return made

    def join(self, standby: DatabaseHost) -> None:
        """Copy the other host, start, and let its commits wait for this one."""
        primary = standby.peer
        standby.wait_for_nobody()
        standby.copy_from_peer()
        standby.start()
        primary.write_names(f'ANY 1 ("{standby.name}")')
        primary.reload()
        self.wait(
            lambda: "quorum" in primary.sql("SELECT sync_state FROM pg_stat_replication"),
            f"{standby.name} does not stream: {standby.log()}",
        )

    def wait(self, is_so: Any, complaint: str, seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.05)

    def _make_places(self) -> None:
        authority = Authority(self.directory / "authority")
        account = pwd.getpwnam("postgres")
        names = "".join(f"{address} {name}\n" for name, address in _ADDRESSES.items())
        for name, address in _ADDRESSES.items():
            host = self.directory / name
            for own in _OWN:
                (host / own.lstrip("/")).mkdir(parents=True)
            (host / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
            (host / "log").touch()
            certificate = authority.issue(name, name, address, "localhost")
            tls = host / "etc/doorbell/tls"
            shutil.copy(authority.file, tls / "ca.crt")
            shutil.copy(certificate.file, tls / "host.crt")
            shutil.copy(certificate.key, tls / "host.key")
            (tls / "host.key").chmod(0o640)
            os.chown(tls / "host.key", 0, account.pw_gid)
            passwords = host / "var/lib/postgresql/replication.pgpass"
            passwords.write_text(f"*:*:*:replication:{PASSWORD}\n")
            passwords.chmod(0o600)
            for path in (
                host / "var/backups",
                host / "run/postgresql",
                passwords.parent,
                passwords,
            ):
                os.chown(path, account.pw_uid, account.pw_gid)

    def _render(self) -> None:
        playbook = REPOSITORY / ".venv-ansible/bin/ansible-playbook"
        if not playbook.exists():
            reason = "Ansible is missing: call deploy/local/setup --ansible"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        inventory = self.directory / "inventory.json"
        # All connections come from the one loopback address, whichever host they come from.
        hosts = {name: {"doorbell_address": "127.0.0.1"} for name in _ADDRESSES}
        databases = {name: hosts[name] for name in hosts if name.startswith("database")}
        groups = {
            "databases": {"hosts": databases},
            "backups": {"hosts": {"backup1": hosts["backup1"]}},
        }
        inventory.write_text(json.dumps({"all": {"children": groups}}))
        extra = {
            "roles_directory": str(ROLES),
            "output": str(self.directory),
            "vault_database_password": PASSWORD,
            "vault_replication_password": PASSWORD,
            "postgresql_port": self.port,
            "backup_postgresql_port": self.port,
            "postgresql_shared_buffers_mb": 32,
            "_backup_timeline": TIMELINE,
            "_backup_time": RESTORE_TO,
            "backup_status_directory": "/var/backups/doorbell",
            "_postgresql_restored_wal": "/var/lib/postgresql/restored-wal",
            "_postgresql_data": "/var/lib/postgresql/data",
            "_postgresql_programs": str(ROLES / "postgresql/files"),
            "_backup_programs": str(ROLES / "backup/files"),
            "_postgresql_version": find_binaries().parent.name,
            "_backup_postgresql_version": find_binaries().parent.name,
        }
        command: Sequence[str | Path] = [
            playbook,
            "-i",
            inventory,
            _PLAYBOOK,
            "-e",
            json.dumps(extra),
        ]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROLES.parent / "ansible.cfg")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in _ADDRESSES:
            files = json.loads((self.directory / f"{name}.json").read_text())
            for file, text in files.items():
                (self.directory / name / file).write_text(text)
