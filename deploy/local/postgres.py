"""The private PostgreSQL of a local cluster: its data, its command line, its database."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

from deploy.local.layout import Layout
from deploy.local.passwords import read_or_make, write
from deploy.local.ports import HOST
from deploy.local.process import ClusterError, Process

USER = "doorbell"
DATABASE = "doorbell"

_ACCOUNT = "postgres"
_HOME = Path("/var/lib/postgresql")
_CONFIGURATION = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # the system's own directory belongs to the system's own server
    "max_connections": "200",
    "log_error_verbosity": "terse",  # the details of an error quote rows: personal data
    "shared_buffers": "128MB",
    "logging_collector": "off",  # the supervisor keeps what is written to standard error
    # As on hosts, where the reasons are (ansible/roles/postgresql/templates/doorbell.conf.j2).
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "2000",
}


def url(layout: Layout, port: int) -> str:
    """The address of the product's database, with its password."""
    password = read_or_make(layout.secrets / "database_password")
    return f"postgresql://{USER}:{password}@{HOST}:{port}/{DATABASE}"


def write_url(layout: Layout, port: int) -> Path:
    """Write the address to a secret file for the processes, and return the file."""
    path = layout.secrets / "database_url"
    write(path, url(layout, port))
    return path


def initialise(layout: Layout) -> None:
    """Create the data directory when there is none yet."""
    if (layout.postgres / "PG_VERSION").exists():
        return
    data = _make_data_directory(layout)
    password_file = data.with_name(f".{data.name}.password")
    write(password_file, read_or_make(layout.secrets / "database_password"))
    try:
        if account := _account():
            shutil.chown(password_file, account, account)
        _run(
            "initdb",
            "-D",
            str(data),
            "-U",
            USER,
            "--pwfile",
            str(password_file),
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        )
    finally:
        password_file.unlink()


def process(layout: Layout, port: int) -> Process:
    """The server. A stop ends open sessions and closes the data in order."""
    options = (part for key, value in _CONFIGURATION.items() for part in ("-c", f"{key}={value}"))
    data = layout.postgres.resolve()
    return Process(
        name="postgres",
        command=(str(find_binary("postgres")), "-D", str(data), "-p", str(port), *options),
        directory=data,
        probe=lambda: _probe(layout, port),
        stop_signal="INT",
        stop_seconds=30,
        account=_account(),
        address=f"{HOST}:{port}",
    )


def create_database(layout: Layout, port: int) -> None:
    """Create the product's database when it is not there yet."""
    try:
        psycopg.connect(url(layout, port), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise
        environment = {"PGPASSWORD": read_or_make(layout.secrets / "database_password")}
        _run("createdb", "-h", HOST, "-p", str(port), "-U", USER, DATABASE, environment=environment)


def _probe(layout: Layout, port: int) -> None:
    address = url(layout, port).removesuffix(DATABASE) + "postgres"
    psycopg.connect(address, connect_timeout=2).close()


def _account() -> str | None:
    """The user that PostgreSQL runs as: it refuses root."""
    return _ACCOUNT if os.getuid() == 0 else None


def _make_data_directory(layout: Layout) -> Path:
    """Create an empty directory that the server's user can reach, and link it into the layout.

    Below a home directory that is closed to others the data goes to PostgreSQL's own home.
    """
    data = layout.postgres
    if data.is_symlink():
        data.unlink()
    if (account := _account()) and not _can_enter(account, layout.root):
        name = re.sub(r"[^A-Za-z0-9]+", "-", str(layout.root)).strip("-")
        target = _HOME / f"doorbell-{name}"
        print(
            f"User {account} may not enter {layout.root}: PostgreSQL's data goes to {target}",
            file=sys.stderr,
        )
        data.symlink_to(target)
        data = target
    data.mkdir(mode=0o700, exist_ok=True)
    if account:
        shutil.chown(data, account, account)
    if any(data.iterdir()):
        raise ClusterError(f"{data} is neither empty nor a PostgreSQL data directory: move it away")
    return data


def _can_enter(account: str, directory: Path) -> bool:
    user = pwd.getpwnam(account)
    return (
        subprocess.run(
            ["test", "-x", str(directory)],
            user=user.pw_uid,
            group=user.pw_gid,
            check=False,
            cwd="/",
        ).returncode
        == 0
    )


def find_binary(name: str) -> Path:
    """The newest installed version of one of PostgreSQL's programs.

    Raises:
        ClusterError: it is not installed.
    """
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1]
    if elsewhere := shutil.which(name):
        return Path(elsewhere)
    raise ClusterError(f"PostgreSQL's {name} is not installed: call deploy/local/setup")


def _run(name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    account = pwd.getpwnam(_ACCOUNT) if os.getuid() == 0 else None
    finished = subprocess.run(
        [find_binary(name), *arguments],
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **(environment or {})},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise ClusterError(f"{name} failed: {finished.stderr.strip()}")
