"""`doorbell ledger republish`: a broker that was rebuilt empty gets back what the ledger knows."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain

from routing.load import load
from tests.integration.dead.conftest import POOL, VHOST, Bench, Operate
from tests.support.fleet import ROOT, wait_until

SECONDS = 30


def _accept(bench: Bench, count: int) -> dict[str, UUID]:
    """Workflows of two steps by the name of their first one."""
    work = bench.tasks["work"]
    names = [uuid4().hex[:12] for _ in range(count)]
    return {
        name: bench.accept(chain(work.s(name=name), work.s(name=f"{name}-2"), app=bench.app))
        for name in names
    }


def _empty(bench: Bench) -> None:
    """What a rebuilt broker holds: every queue, and nothing in them."""
    delays = load().delays
    for name in (POOL, *(delays.level_name(level) for level in range(delays.levels))):
        bench.node.manage("DELETE", f"queues/{VHOST}/{name}/contents")


def _waiting(bench: Bench) -> int:
    return bench.node.peek(POOL, VHOST)[0]


def test_what_was_lost_is_published_again_and_done_once(idle: Bench, operate: Operate) -> None:
    """A dry run counts; what was published a moment ago is left alone; the second run finds nothing."""
    workflows = _accept(idle, 20)
    _empty(idle)

    assert operate("ledger", "republish")[1]["published"] == 0
    code, told = operate("ledger", "republish", "--older-than", "0s", "--dry-run")
    found = [{"queue": POOL, "steps": 20, "delayed": 0, "without_message": 0}]
    assert (code, told["published"], told["found"], _waiting(idle)) == (0, 0, found, 0)
    code, told = operate("ledger", "republish", "--older-than", "0s", "--queue", POOL)
    assert (code, told["published"]) == (0, 20)
    assert _waiting(idle) == 20
    assert operate("ledger", "republish", "--older-than", "1m")[1]["published"] == 0
    assert operate("ledger", "republish", "--queue", "nowhere")[0] == 2

    idle.start()
    for name, workflow in workflows.items():
        idle.ended(workflow, "done")
        assert idle.runs(name, f"{name}-2") == {name: 1, f"{name}-2": 1}


def test_what_was_not_lost_is_delivered_twice_and_done_once(idle: Bench, operate: Operate) -> None:
    """Republishing beside a full queue repeats nothing."""
    workflows = _accept(idle, 10)
    assert operate("ledger", "republish", "--older-than", "0s")[1]["published"] == 10
    assert _waiting(idle) == 20

    idle.start()
    for workflow in workflows.values():
        idle.ended(workflow, "done")
    wait_until(lambda: _waiting(idle) == 0, SECONDS)
    assert {idle.seen(f"ran {name}") for name in workflows} == {1}


def test_a_retry_gets_the_rest_of_its_delay(idle: Bench, operate: Operate) -> None:
    """Neither at once nor from the beginning: when it was due."""
    name = uuid4().hex[:12]
    idle.break_(name)
    idle.start()
    retry: Any = idle.tasks["come_back"]
    step_id = retry.apply_async((name, 8)).id
    idle.wait_for(step_id, "retrying")
    wait_until(lambda: idle.value("SELECT published_at FROM step WHERE id = %s", step_id), SECONDS)
    idle.stop()
    _empty(idle)
    idle.mend(name)
    due: datetime = idle.value("SELECT due_at FROM step WHERE id = %s", step_id)
    half_over = "SELECT clock_timestamp() > due_at - interval '4 seconds' FROM step WHERE id = %s"
    wait_until(lambda: idle.value(half_over, step_id), SECONDS)

    _, told = operate("ledger", "republish", "--older-than", "0s")
    assert (told["published"], told["found"][0]["delayed"]) == (1, 1)
    again: datetime = idle.value("SELECT published_at FROM step WHERE id = %s", step_id)
    wait_until(lambda: idle.node.peek(POOL, VHOST)[0] == 1, SECONDS, "the message")
    arrived: datetime = idle.value("SELECT clock_timestamp()")
    assert due <= arrived < again + timedelta(seconds=8)
    idle.start()
    idle.wait_for(step_id, "done")
    assert idle.seen(f"ran {name} 1") == 1


def test_one_that_is_killed_goes_on_where_it_was(idle: Bench, operate: Operate) -> None:
    """Each message at least once, and no more of them twice than one list holds."""
    workflows = _accept(idle, 60)
    _empty(idle)
    began = datetime.now(UTC)
    arguments = ("ledger", "republish", "--older-than", "0s", "--rate", "10")
    process = subprocess.Popen(
        [sys.executable, "-c", "from services.cli.main import main; main()", *arguments],
        env=idle.fleet.environment("operator"),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _waiting(idle) >= 20, SECONDS, "the first lists")
    finally:
        process.kill()
        process.wait(20)
    before = _waiting(idle)
    assert before < 60

    # What it has done already is younger than the age that the next one asks for.
    idle.rows("UPDATE step SET published_at = now() - interval '1h' WHERE published_at < %s", began)
    code, told = operate("ledger", "republish", "--older-than", "1m")
    assert code == 0
    assert 60 - before <= told["published"] <= 60 - before + 10
    idle.start()
    for name, workflow in workflows.items():
        idle.ended(workflow, "done")
        assert idle.seen(f"ran {name}") == 1


def test_a_broker_that_is_away_gets_nothing(
    idle: Bench, operate: Operate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and every step still counts as published when it was."""
    _accept(idle, 3)
    before = idle.rows("SELECT id, published_at FROM step ORDER BY id")
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://operator:x@127.0.0.1:1/doorbell")

    code, complaint = operate("ledger", "republish", "--older-than", "0s")
    assert code == 3
    assert "the broker does not answer" in complaint
    assert idle.rows("SELECT id, published_at FROM step ORDER BY id") == before


def test_a_step_without_a_message_is_counted(idle: Bench, operate: Operate) -> None:
    """Sent by hand and first seen by a worker that died: only its sender can send it again."""
    idle.rows(
        "INSERT INTO step (id, task, queue, state, ready_at, published_at)"
        " VALUES ('by-hand', 'mend.work', %s, 'ready', now(), now())",
        POOL,
    )
    code, told = operate("ledger", "republish", "--older-than", "0s")
    assert (code, told["published"]) == (0, 0)
    assert told["found"][0]["without_message"] == 1
