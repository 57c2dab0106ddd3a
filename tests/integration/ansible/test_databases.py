"""The database's hosts as role postgresql makes them: TLS, the synchronous standby, promotion."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tests.integration.ansible.database_hosts import ROLES, DatabaseHost, DatabaseHosts

# The first one waits for Ansible to render the files of all.
pytestmark = pytest.mark.timeout(300)

PROGRAMS = ROLES / "postgresql" / "files"


def _promote(host: DatabaseHost, *arguments: str) -> tuple[int, str]:
    """What promote_standby.yml runs on the standby."""
    peers = f"{host.peers} dbname=postgres"
    done = host.attempt(PROGRAMS / "promote_standby", str(host.hosts.port), peers, *arguments)
    return done.returncode, done.stdout + done.stderr


def _starts(host: DatabaseHost) -> bool:
    """Whether the check before the server's start, in its unit, lets it start."""
    peers = f"{host.peers} dbname=postgres"
    return host.attempt(PROGRAMS / "refuse_second_primary", host.data, peers).returncode == 0


class Writers:
    """Clients that commit rows one by one, and remember which ones were acknowledged."""

    def __init__(self, hosts: DatabaseHosts, count: int = 4) -> None:
        self.acknowledged: set[int] = set()
        self._hosts = hosts
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)

    def _write(self, number: int) -> None:
        try:
            with self._hosts.client(autocommit=True) as connection:
                for row in range(number * 1_000_000, (number + 1) * 1_000_000):
                    connection.execute("INSERT INTO accepted VALUES (%s)", (row,))
                    self.acknowledged.add(row)
        except psycopg.OperationalError:
            return


def _rows(hosts: DatabaseHosts) -> set[int]:
    with hosts.client() as connection:
        return {row[0] for row in connection.execute("SELECT id FROM accepted")}


def test_nothing_acknowledged_is_lost_with_the_primary(hosts: DatabaseHosts) -> None:
    """The standby is promoted with every row whose commit was answered; clients find it by themselves."""
    primary, standby = hosts.make_pair()
    with hosts.client() as connection:
        connection.execute("CREATE TABLE accepted (id bigint PRIMARY KEY)")
    code, said = _promote(standby)
    assert code == 1
    assert "still answers" in said

    writers = Writers(hosts)
    writers.start()
    hosts.wait(lambda: len(writers.acknowledged) > 500, "nothing is written")
    primary.kill()
    writers.join()
    code, said = _promote(standby)
    assert code == 0, said
    assert "writable" in said
    assert writers.acknowledged <= _rows(hosts)
    assert _promote(standby) == (0, "this host is the primary already\n")


def test_the_old_primary_does_not_start_beside_the_new_one(hosts: DatabaseHosts) -> None:
    """It comes back as its standby, and what it had written alone is gone."""
    primary, standby = hosts.make_pair()
    assert _starts(primary), "the only primary must start"
    primary.kill()
    assert _starts(primary), "while no other answers, it may be the one that is needed"
    assert _promote(standby)[0] == 0
    assert not _starts(primary)

    assert "slot database1" in hosts.make_objects(standby)
    assert hosts.make_objects(standby) == "", "a second run makes nothing"
    hosts.join(primary)
    assert _starts(primary), "a standby starts beside its primary"
    with hosts.client() as connection:
        connection.execute("CREATE TABLE accepted (id bigint PRIMARY KEY)")
    assert primary.sql("SELECT pg_is_in_recovery()") == "t"


def test_a_commit_waits_while_the_standby_is_away(hosts: DatabaseHosts) -> None:
    """No time-out of a session turns the wait into an acknowledgement; going on without it is one change."""
    primary, standby = hosts.make_pair()
    with hosts.client() as connection:
        connection.execute("CREATE TABLE accepted (id bigint PRIMARY KEY)")
    standby.stop()
    committed = threading.Event()

    def write() -> None:
        options = "-c statement_timeout=500 -c lock_timeout=500 -c idle_in_transaction_session_timeout=500"
        with hosts.client(autocommit=True, options=options) as connection:
            connection.execute("INSERT INTO accepted VALUES (1)")
            committed.set()

    writer = threading.Thread(target=write)
    writer.start()
    hosts.wait(
        lambda: (
            primary.sql("SELECT wait_event FROM pg_stat_activity WHERE usename = 'doorbell'")
            == "SyncRep"
        ),
        "the commit does not wait",
    )
    assert not committed.wait(2)
    primary.wait_for_nobody()
    primary.reload()
    assert committed.wait(10)
    writer.join()


def test_an_operator_who_cancels_a_wait_lets_the_commit_count(hosts: DatabaseHosts) -> None:
    """Why the runbook forbids it: the client is told that all is well, and no standby has the row."""
    primary, standby = hosts.make_pair()
    with hosts.client(autocommit=True) as connection:
        connection.execute("CREATE TABLE accepted (id bigint PRIMARY KEY)")
        standby.stop()
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        writer = threading.Thread(
            target=connection.execute, args=("INSERT INTO accepted VALUES (1)",)
        )
        writer.start()
        hosts.wait(lambda: primary.sql(waiting) == "t", "the commit does not wait")
        writer.join(10)
        assert not writer.is_alive()
    assert _rows(hosts) == {1}


def test_nobody_gets_in_without_tls_or_with_another_role(hosts: DatabaseHosts) -> None:
    """Over the network only the two roles come in, each to its own, encrypted and with a password."""
    primary = hosts.databases[0]
    primary.initialise()
    primary.wait_for_nobody()
    primary.start()
    hosts.make_objects(primary)
    with hosts.client() as connection:
        row = connection.execute(
            "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row is not None
    assert row[0] in ("TLSv1.2", "TLSv1.3")
    for wrong in (
        {"sslmode": "disable"},
        {"user": "replication"},
        {"user": "postgres", "dbname": "postgres"},
        {"dbname": "postgres"},
        {"password": "something else"},
        {"ssl_max_protocol_version": "TLSv1.1", "ssl_min_protocol_version": "TLSv1"},
    ):
        with pytest.raises(psycopg.OperationalError):
            hosts.client(**wrong)
    assert primary.sql("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""


def test_every_setting_is_applied(hosts: DatabaseHosts) -> None:
    """No line of the role's settings is overruled, or waits for something."""
    primary, standby = hosts.make_pair()
    # The hosts of the test share one port, so that each has its own address.
    wrong = """SELECT name || ': ' || coalesce(error, 'not applied') FROM pg_file_settings
        WHERE NOT applied AND name <> 'listen_addresses'"""
    for host in (primary, standby):
        assert host.sql(wrong) == ""
    assert "personal" not in primary.log()
    with hosts.client(autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE visit (ip text PRIMARY KEY)")
        connection.execute("INSERT INTO visit VALUES (%s)", ("personal",))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO visit VALUES (%s)", ("personal",))
    hosts.wait(lambda: "visit_pkey" in primary.log(), "the error is not logged")
    assert "personal" not in primary.log()


def test_a_setting_that_is_refused_is_named(hosts: DatabaseHosts) -> None:
    """A mistyped name or value, with which no server starts; what waits for a restart is no such one."""
    primary = hosts.databases[0]
    primary.initialise()
    primary.wait_for_nobody()
    refused = (primary.directory / "refused.sql").read_text()
    settings = primary.directory / "doorbell.conf"
    good = settings.read_text()
    settings.write_text(f"{good}\nmax_prepared_transactions = 5\n")
    try:
        primary.start()
        assert primary.sql(refused) == ""
        for wrong, told in (
            ("max_slot_wal_keep_size = 16G", "max_slot_wal_keep_size = 16G in "),
            ("shared_bufers = 1", "shared_bufers = 1 in "),
            ("shared_buffers 1 1", "syntax error"),
        ):
            settings.write_text(f"{good}\n{wrong}\n")
            primary.reload()
            hosts.wait(lambda told=told: told in primary.sql(refused), f"{wrong} is not refused")
        settings.write_text(f"{good}\nmax_connections = 321\n")
        primary.reload()
        pending = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name"
        both = "max_connections\nmax_prepared_transactions"
        hosts.wait(lambda: primary.sql(pending) == both, "nothing waits for a restart")
        assert primary.sql(refused) == ""
    finally:
        settings.write_text(good)


def test_a_database_that_runs_is_not_taken_for_a_stopped_one(hosts: DatabaseHosts) -> None:
    """Also when it answers nobody: beside it none may be promoted or restored."""
    primary, standby = hosts.databases
    assert primary.look() == "empty"
    primary, standby = hosts.make_pair()
    assert (primary.look(), standby.look()) == ("primary", "standby")
    primary.freeze()
    assert primary.look() == "silent primary"
    primary.kill()
    standby.stop()
    assert (primary.look(), standby.look()) == ("stopped primary", "stopped standby")
