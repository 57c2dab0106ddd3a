"""The hosts of the roles' tests: their files are made once, their data for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.integration.ansible.backup_hosts import BackupHost
from tests.integration.ansible.database_hosts import DatabaseHosts


@pytest.fixture(scope="session")
def rendered_hosts() -> Iterator[DatabaseHosts]:
    with DatabaseHosts() as made:
        yield made


@pytest.fixture
def hosts(rendered_hosts: DatabaseHosts) -> Iterator[DatabaseHosts]:
    """Hosts without data; nothing runs on them."""
    yield rendered_hosts
    rendered_hosts.clear()


@pytest.fixture
def backup_host(hosts: DatabaseHosts) -> Iterator[BackupHost]:
    (hosts.directory / "backup1/log").write_text("")
    host = BackupHost(hosts)
    host.directory.mkdir()
    shutil.chown(host.directory, "postgres", "postgres")
    yield host
    host.stop()
