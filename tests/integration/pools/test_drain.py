"""`doorbell pool`: a drained process takes nothing new, finishes what it has, and stays drained."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from routing.load import load
from services import healthcheck
from services.cli.main import run
from tests.integration.pools.conftest import POOL, Operate, process_ids
from tests.integration.runner.conftest import MODULE, SECONDS, VHOST, Bench
from tests.integration.runner.test_lists import names
from tests.support.fleet import wait_until
from tests.support.ports import free_port


def _states(operate: Operate, pool: str = POOL) -> dict[int | None, str]:
    code, rows = operate("pool", "list", pool)
    assert code == 0
    return {row["process"]: row["state"] for row in rows}


def _waiting(bench: Bench) -> int:
    return bench.node.peek(POOL, VHOST)[0]


def test_the_list(bench: Bench, operate: Operate) -> None:
    """Every pool; where each process is, and what it has in its hands."""
    rows = operate("pool", "list")[1]
    assert {row["pool"] for row in rows} == set(load().pools)
    code, rows = operate("pool", "list", POOL)
    assert code == 0
    assert [(row["pool"], row["host"], row["process"], row["state"]) for row in rows] == [
        (POOL, "test", 1, "consuming"),
        (POOL, "test", 2, "consuming"),
    ]
    assert all(0 <= row["uptime_seconds"] < 600 and row["drained_by"] is None for row in rows)
    ids = bench.send("try.batch", *names("hold"))
    mine = ("pool", "list", POOL)
    wait_until(lambda: sum(row["in_flight"] for row in operate(*mine)[1]) == 1, SECONDS)
    wait_until(lambda: sum(row["still_seconds"] for row in operate(*mine)[1]) > 0, SECONDS)
    assert bench.ended(ids) == ["done"]


def test_a_drain_finishes_what_is_begun_and_leaves_the_rest(
    bench: Bench, operate: Operate, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under work: exit code 0 when both are empty; what comes later waits in its queue until the resume."""
    held = bench.send("try.batch", *names("hold"))
    wait_until(lambda: bench.lines("ran hold"), SECONDS)
    code, told = operate("pool", "drain", POOL, "--wait", "0.2")
    assert code == 1
    assert len(told["left"]) == 1
    assert "is draining, 1 in flight" in told["left"][0]

    code, told = operate("pool", "drain", POOL)
    assert (code, told["left"], len(told["processes"])) == (0, [], 2)
    assert bench.ended(held) == ["done"]
    later = bench.send("try.batch", *names("ok", 5))
    wait_until(lambda: _waiting(bench) == 5, SECONDS)
    assert _states(operate) == {1: "draining", 2: "draining"}
    assert bench.rows("SELECT count(*) FROM drain WHERE resumed_at IS NULL") == [(1,)]

    code, told = operate("pool", "resume", POOL)
    assert (code, told["left"]) == (0, [])
    assert bench.ended(later) == ["done"] * 5
    [(by, resumed_by)] = bench.rows(
        "SELECT drained_by, resumed_by FROM drain ORDER BY id DESC LIMIT 1"
    )
    assert by == resumed_by
    assert "@" in by


def test_the_drain_of_one_process_leaves_the_work_to_the_other(
    bench: Bench, operate: Operate
) -> None:
    """By host and number; the list says who did it."""
    assert operate("pool", "drain", POOL, "--host", "test", "--process", "2")[0] == 0
    rows = operate("pool", "list", POOL)[1]
    assert [(row["process"], row["state"]) for row in rows] == [(1, "consuming"), (2, "draining")]
    assert rows[0]["drained_by"] is None
    assert "@" in rows[1]["drained_by"]
    assert bench.node.peek(POOL, VHOST)[1] == 1
    assert bench.ended(bench.send("try.batch", *names("ok", 3))) == ["done"] * 3
    assert operate("pool", "resume", POOL, "--host", "test")[0] == 0
    assert _states(operate) == {1: "consuming", 2: "consuming"}


def test_a_host_is_drained_with_every_pool_that_it_has(bench: Bench, operate: Operate) -> None:
    """Without a pool's name, by the host's; and resumed the same way."""
    code, told = operate("pool", "drain", "--host", "test")
    assert (code, told["scope"], len(told["processes"])) == (0, f"{POOL} on test", 2)
    assert _states(operate) == {1: "draining", 2: "draining"}
    assert operate("pool", "resume", "--host", "test")[0] == 0
    assert _states(operate) == {1: "consuming", 2: "consuming"}
    assert operate("pool", "drain", "--host", "elsewhere")[0] == 4
    for wrong in ((), ("--process", "1"), ("--host", "test", "--process", "1")):
        code, complaint = operate("pool", "drain", *wrong)
        assert (code, "POOL: name a pool" in complaint) == (2, True)


def test_a_pool_without_processes_is_named_and_can_be_drained(
    bench: Bench, operate: Operate
) -> None:
    """The list ends with 1 until it is drained; nobody who would take its messages is there to be asked."""
    code, rows = operate("pool", "list")
    others = {row["pool"]: row["state"] for row in rows if row["pool"] != POOL}
    assert code == 1
    assert set(others.values()) == {"nobody"}

    empty = next(iter(others))
    assert operate("pool", "drain", empty) == (0, {"scope": empty, "processes": [], "left": []})
    code, rows = operate("pool", "list", empty)
    assert (code, [row["state"] for row in rows]) == (0, ["silent"])
    assert operate("pool", "resume", empty)[0] == 0
    assert operate("pool", "list", empty)[0] == 1


def test_a_drain_holds_without_a_broker(bench: Bench, operate: Operate) -> None:
    """It stands in the ledger; whoever comes back reads it there, and the command says so."""
    bench.node.stop()
    try:
        code, complaint = operate("pool", "drain", POOL)
        assert code == 3
        assert f"{POOL}: drained in the ledger" in complaint
        assert "127.0.0.1" in complaint
    finally:
        bench.node.start()
    wait_until(lambda: _states(operate) == {1: "draining", 2: "draining"}, 60)
    assert operate("pool", "resume", POOL)[0] == 0
    wait_until(lambda: _states(operate) == {1: "consuming", 2: "consuming"}, 60)


def test_it_lasts_over_restarts_of_worker_and_broker(bench: Bench, operate: Operate) -> None:
    """A killed process is followed by one that is drained too; so is one that has lost its broker."""
    assert operate("pool", "drain", POOL)[0] == 0
    killed = bench.send("try.batch", *names("ok", 2))
    before = bench.lines("start")
    for pid in process_ids(bench):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(bench.lines("start")) == len(before) + 2, SECONDS)
    wait_until(lambda: _states(operate) == {1: "draining", 2: "draining"}, SECONDS)
    bench.node.restart()
    wait_until(lambda: _states(operate) == {1: "draining", 2: "draining"}, 60)
    assert _waiting(bench) == 2
    assert operate("pool", "resume", POOL)[0] == 0
    assert bench.ended(killed) == ["done"] * 2


def test_a_drain_that_nobody_heard_is_read_at_the_next_connection(
    bench: Bench, operate: Operate
) -> None:
    """What was written while a process had no broker counts as soon as it has one again."""
    bench.node.stop()
    bench.rows("INSERT INTO drain (pool, drained_by) VALUES (%s, 'the test')", POOL)
    bench.node.start()
    wait_until(lambda: _states(operate) == {1: "draining", 2: "draining"}, 60)


def test_what_is_not_there_is_said(bench: Bench, operate: Operate) -> None:
    """Unknown pools, hosts and numbers, and a resume that is narrower than the drain."""
    code, complaint = operate("pool", "drain", "no_such_pool")
    assert (code, "there is no pool 'no_such_pool'" in complaint) == (2, True)
    code, complaint = operate("pool", "list", "no_such_pool")
    assert code == 2
    for command in ("drain", "resume"):
        code, complaint = operate("pool", command, POOL, "--host", "elsewhere")
        assert code == 4
        assert f"no process of {POOL} on elsewhere answers" in complaint
        assert f"{POOL} 1 on test, {POOL} 2 on test" in complaint
    assert operate("pool", "drain", POOL, "--process", 0)[0] == 2
    assert bench.rows("SELECT count(*) FROM drain WHERE resumed_at IS NULL") == [(0,)]

    assert operate("pool", "drain", POOL)[0] == 0
    code, complaint = operate("pool", "resume", POOL, "--host", "test")
    assert (code, f"{POOL} is drained, by " in complaint) == (1, True)
    assert operate("pool", "resume", POOL)[0] == 0
    # Nothing was drained: that is no mistake.
    assert operate("pool", "resume", POOL)[0] == 0


def test_who_stands_still_is_silent(bench: Bench, operate: Operate) -> None:
    """A stopped process consumes, as the broker knows, and does not answer: the drain says so too."""
    pid = process_ids(bench)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        code, rows = operate("pool", "list", POOL)
        assert sorted(row["state"] for row in rows) == ["consuming", "silent"]
        code, told = operate("pool", "drain", POOL, "--wait", "1")
        assert code == 1
        assert told["left"] == [f"1 more of {POOL} took messages last and do not answer"]
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: _states(operate) == {1: "draining", 2: "draining"}, SECONDS)


def test_a_worker_without_a_database_takes_nothing(bench: Bench, operate: Operate) -> None:
    """It cannot know whether it is drained: the others do the work, and it stops when it is told to."""
    bench.fleet.start(
        "blind",
        MODULE,
        (POOL, "3"),
        user=POOL,
        DOORBELL_DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
        DOORBELL_HEARTBEAT_FILE=str(bench.directory / "heartbeat.blind"),
    )
    complaint = "PostgreSQL does not say whether this process is drained"
    wait_until(lambda: complaint in bench.fleet.log("blind"), SECONDS)
    assert bench.node.peek(POOL, VHOST)[1] == 2
    assert set(_states(operate)) == {1, 2}
    file = str(bench.directory / "heartbeat.blind")
    assert healthcheck.main(["worker", "--file", file]) == 0
    assert healthcheck.main(["worker", "--file", file, "--useful"]) == 1
    assert bench.fleet.stop("blind") == 0


def test_no_broker_is_said(bench: Bench, operate: Operate, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence with its address, and the exit code of a service that does not answer."""
    monkeypatch.setenv("DOORBELL_BROKER_URL", f"pyamqp://a:b@127.0.0.1:{free_port()}/doorbell")
    for command in (("list",), ("drain", POOL), ("resume", POOL)):
        code, complaint = operate("pool", *command)
        assert code == 3
        assert "the broker does not answer" in complaint
        assert "amqp://127.0.0.1:" in complaint
    assert bench.rows("SELECT count(*) FROM drain WHERE resumed_at IS NULL") == [(0,)]


def test_a_consumer_that_was_cancelled_shows(bench: Bench, operate: Operate) -> None:
    """Celery's own command, from Flower say, leaves no trace in the ledger; a resume mends it."""
    bench.app.control.cancel_consumer(POOL, destination=[f"{POOL}.2@{socket.gethostname()}"])
    wait_until(lambda: _states(operate) == {1: "consuming", 2: "not consuming"}, SECONDS)
    assert operate("pool", "resume", POOL)[0] == 0
    assert _states(operate) == {1: "consuming", 2: "consuming"}


def test_people_read_a_table(
    bench: Bench, operate: Operate, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same, without --json."""
    assert run(["pool", "drain", POOL, "--process", "1"]) == 0
    assert capfd.readouterr().out.strip() == f"{POOL} 1: 1 drained and empty"
    assert run(["pool", "list", POOL]) == 0
    table = capfd.readouterr().out
    assert "draining" in table
    assert "consuming" in table
    assert "by " in table
