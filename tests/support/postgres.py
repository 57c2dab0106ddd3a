"""A private PostgreSQL server for tests: started, killed and restarted at will, one cloned database a test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql
from yoyo import get_backend, read_migrations

from tests.support.certificates import Certificate
from tests.support.ports import free_port

MIGRATIONS = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "migrations"

_TEMPLATE = "doorbell_template"
_USER = "doorbell"
_DEADLINE_SECONDS = 30.0
# Commits survive a kill of the processes (the kernel keeps the pages), only not a
# crash of the machine: that is all a test needs, and it is several times faster.
_CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "log_error_verbosity": "terse",
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_prepared_transactions": "0",
}


class PrivatePostgres:
    """A server with its own data directory and port, on the loopback address alone.

    `with PrivatePostgres() as server:` starts it, applies the migrations to a
    template once, and removes everything at the end. As root it runs as the user
    `postgres`, since PostgreSQL refuses root.
    """

    def __init__(
        self,
        certificate: Certificate | None = None,
        migrations: Path = MIGRATIONS,
        **configuration: str,
    ) -> None:
        """configuration: parameters of the server. With a certificate, it takes TLS too.

        migrations: the directory of those that make the schema of its databases.
        """
        self._binaries = find_binaries()
        self._configuration = {**_CONFIGURATION, **configuration}
        self._certificate = certificate
        self._migrations = migrations
        self._account = "postgres" if os.getuid() == 0 else None
        self._directory = Path(tempfile.mkdtemp(prefix="doorbell-postgres-"))
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
            self._make_template()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh database with the migrated schema; dropped at the end."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(_TEMPLATE)
            )
        )
        try:
            yield self.url(name)
        finally:
            if self.is_running:
                self._administer(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )

    @property
    def data(self) -> Path:
        """The data directory; to be touched only while the server is stopped."""
        return self._data

    @property
    def pid(self) -> int:
        """Of the running server; its sessions are its children."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [
            part for key, value in self._configuration.items() for part in ("-c", f"{key}={value}")
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # A killed test run leaves no server behind.
                    *("setpriv", "--pdeathsig", "KILL"),
                    *(self._binaries / "postgres", "-D", self._data, "-p", str(self.port)),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._account,
                group=self._account,
                start_new_session=True,
            )
        self._wait_until_it_answers(self._process)

    def stop(self) -> None:
        """Shut down in order; open connections are cut (fast mode)."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_DEADLINE_SECONDS)
        self._process = None

    def kill(self) -> None:
        """End the server and all its sessions with SIGKILL, as a lost machine would."""
        if self._process is not None and self.is_running:
            # Each session is a process group of its own; an orphan would keep the
            # shared memory attached and so prevent the next start.
            sessions = _children(self._process.pid)
            self._process.kill()
            for session in sessions:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(session, signal.SIGKILL)
            self._process.wait(_DEADLINE_SECONDS)
            _wait_until_gone(sessions)
        self._process = None

    def restart(self) -> None:
        """Stop, then start on the same port with the same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _initialise(self) -> None:
        if self._account is not None:
            entry = pwd.getpwnam(self._account)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", _USER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd="/",
            user=self._account,
            group=self._account,
        )
        if self._certificate is not None:
            self._take(self._certificate)

    def _take(self, certificate: Certificate) -> None:
        for option, file in (
            ("ssl_cert_file", certificate.file),
            ("ssl_key_file", certificate.key),
        ):
            # PostgreSQL wants its key to be its own, and nobody else's to read.
            copy = self._data / option
            copy.touch(0o600)
            copy.write_bytes(file.read_bytes())
            if self._account is not None:
                shutil.chown(copy, self._account, self._account)
            self._configuration[option] = option
        self._configuration["ssl"] = "on"

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                log = (self._directory / "log").read_text(errors="replace")[-2000:]
                if process.poll() is not None:
                    raise RuntimeError(f"PostgreSQL ended at start:\n{log}") from error
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not answer:\n{log}") from error
                time.sleep(0.02)
            else:
                return

    def _make_template(self) -> None:
        self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        url = self.url(_TEMPLATE).replace("postgresql://", "postgresql+psycopg://")
        backend = get_backend(url)
        try:
            with backend.lock():
                backend.apply_migrations(backend.to_apply(read_migrations(str(self._migrations))))
        finally:
            backend.connection.close()

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


class Session:
    """One connection to a database: opened at the first statement, and again when it was lost.

    Who asks again and again while something is waited for does not have the server fork each time.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement gives, committed by itself."""
        is_kept = self._connection is not None and not self._connection.closed
        if self._connection is None or not is_kept:
            # A prepared statement would not outlive a change of its table.
            self._connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None)
        try:
            cursor = self._connection.execute(statement.encode(), values)
        except psycopg.OperationalError:
            if not (is_kept and self._connection.closed):
                raise
            return self.rows(statement, *values)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def find_binaries() -> Path:
    """Where `initdb` and `postgres` are; skips the test on a laptop without them, fails in CI."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name)
    if found := shutil.which("postgres"):
        candidates.append(Path(found).resolve().parent)
    for candidate in reversed(candidates):
        if (candidate / "initdb").exists():
            return candidate
    reason = "PostgreSQL's server programs are missing: install the package postgresql"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _children(parent: int) -> list[int]:
    listing = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in listing.split()]


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL's sessions {pids} do not end")
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
