"""The command against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.cli.main import run
from tests.support.broker import PASSWORDS, url_of
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def database_url(postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database, which the environment names."""
    with postgres.database() as url:
        monkeypatch.setenv("DOORBELL_DATABASE_URL", url)
        monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://x:y@127.0.0.1:1/doorbell")
        yield url


@pytest.fixture
def empty_database_url(postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database without any schema, which the environment names."""
    with postgres.database() as url:
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        monkeypatch.setenv("DOORBELL_DATABASE_URL", url)
        monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://x:y@127.0.0.1:1/doorbell")
        yield url


@pytest.fixture
def doorbell(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command with --json; gives its exit code and what it printed, or its complaint."""

    def command(*arguments: object) -> tuple[int, Any]:
        code = run([*map(str, arguments), "--json"])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out else output.err

    return command


def write_endpoints(
    node: PrivateRabbitMQ, database_url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local cluster's endpoints.json here, as the user `operator`; nothing in the environment."""
    monkeypatch.delenv("DOORBELL_DATABASE_URL")
    monkeypatch.delenv("DOORBELL_BROKER_URL")
    monkeypatch.chdir(directory)
    (directory / ".local").mkdir()
    management = node.management_url.replace("//", f"//operator:{PASSWORDS['operator']}@")
    endpoints = {
        "database_url": database_url,
        "broker_url": url_of(node, "operator"),
        "rabbitmq_management": management,
    }
    (directory / ".local" / "endpoints.json").write_text(json.dumps(endpoints))
