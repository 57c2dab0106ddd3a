"""PostgreSQL by an address that names two hosts, with TLS and a verified name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from routing.load import load
from services.adapters.connections import open_pool
from services.celery_app import make_app
from services.cli.main import run
from services.sessions import SESSION
from services.settings import Settings
from tests.support.certificates import Authority
from tests.support.cluster import running_cluster
from tests.support.fleet import wait_until
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

READ_ONLY = b"ALTER ROLE doorbell SET default_transaction_read_only = on"


@pytest.fixture(scope="module")
def primary(authority: Authority) -> Iterator[PrivatePostgres]:
    with PrivatePostgres(authority.issue("database", "localhost")) as running:
        yield running


@pytest.fixture(scope="module")
def standby(authority: Authority) -> Iterator[PrivatePostgres]:
    """A server that takes no writes, as a standby does not."""
    with PrivatePostgres(authority.issue("standby", "localhost")) as running:
        yield running
        # As it was, so that it can be emptied.
        with psycopg.connect(running.url("postgres"), autocommit=True) as connection:
            connection.execute(b"SET default_transaction_read_only = off")


@pytest.fixture(scope="module")
def silent_port() -> Iterator[int]:
    """Where nothing answers, not even a refusal, as at the address of a machine that is lost."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            # They fill the queue that nobody takes from; what comes next is dropped.
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(params=["down", "standby", "silent"])
def url(
    request: pytest.FixtureRequest,
    primary: PrivatePostgres,
    standby: PrivatePostgres,
    silent_port: int,
    authority: Authority,
) -> Iterator[str]:
    """An address whose second host is the one that works."""
    with primary.database() as one:
        name = urlsplit(one).path.strip("/")
        if request.param == "standby":
            with psycopg.connect(standby.url("postgres"), autocommit=True) as connection:
                connection.execute(b"SET default_transaction_read_only = off")
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                connection.execute(READ_ONLY)
        first = {"down": free_port(), "standby": standby.port, "silent": silent_port}[request.param]
        yield (
            f"postgresql://doorbell@localhost:{first},localhost:{primary.port}/{name}"
            # The time-out is for the tests' own sessions; those of ours have theirs.
            "?target_session_attrs=read-write&connect_timeout=3"
            f"&sslmode=verify-full&sslrootcert={authority.file}"
        )


@pytest.fixture
def settings(url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DOORBELL_DATABASE_URL", url)
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://a:b@127.0.0.1:1/x")
    return Settings("pyamqp://a:b@127.0.0.1:1/x", url)


def test_migrations_find_the_primary(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """On an empty schema, and again; the doctor sees that none is missing."""
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(b"DROP SCHEMA public CASCADE")
        connection.execute(b"CREATE SCHEMA public")
    assert run(["migrate"]) == 0
    assert run(["migrate"]) == 0
    assert "the schema is up to date" in capfd.readouterr().out
    run(["doctor"])
    told = capfd.readouterr().out
    assert "ok      database: PostgreSQL" in told
    assert "ok      schema: migrated" in told


def test_every_kind_of_session_finds_it(settings: Settings, primary: PrivatePostgres) -> None:
    """The ledger's own, as beat's is one, its pool's and the handlers'; all encrypted."""
    app = make_app(settings, load())
    pool = open_pool(settings.database_url, "test")
    own = app.ledger.connect()
    with own, app.ledger.connection() as ledgers, pool.connection() as handlers:
        for connection in (own, ledgers, handlers):
            [found] = connection.execute(
                b"SELECT inet_server_port(), current_setting('transaction_read_only'),"
                b" (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())"
            )
            assert found == (primary.port, "off", True)
    pool.close()
    app.ledger.close()
    app.close()


def test_a_silent_host_costs_the_first_session_alone(settings: Settings) -> None:
    """Once another host has answered, it is asked first, by pools too."""
    ledger = make_app(settings, load()).ledger
    ledger.connect().close()
    begun_at = monotonic()
    ledger.connect().close()
    with ledger.connection() as connection:
        assert connection.execute(b"SELECT current_setting('transaction_read_only')").fetchone()
    ledger.close()
    assert monotonic() - begun_at < SESSION["connect_timeout"]


def test_a_login_goes_all_the_way(url: str, node: PrivateRabbitMQ, tmp_path: Path) -> None:
    """Gateway, pools and beat, which holds its lock there."""
    with running_cluster(node, url, tmp_path) as cluster:
        assert cluster.ended(cluster.post("ada")) == ["done"]
        wait_until(lambda: not cluster.waiting_messages())
        wait_until(lambda: cluster.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))


def test_another_ca_is_refused(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whoever stands there in the database's place is not spoken to."""
    stranger = Authority(tmp_path)
    before, _, _ = settings.database_url.rpartition("=")
    monkeypatch.setenv("DOORBELL_DATABASE_URL", f"{before}={stranger.file}")
    assert run(["migrate"]) == 3
    assert "certificate verify failed" in capfd.readouterr().err
