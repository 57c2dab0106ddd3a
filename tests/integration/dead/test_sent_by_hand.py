"""Steps that no workflow knows of: what is kept of them among the dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.cli.main import run
from tests.integration.dead.conftest import POOL, Bench, Operate
from tests.support.fleet import wait_until

SECONDS = 30


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_the_total_does_not_depend_on_the_limit(idle: Bench, operate: Operate, limit: int) -> None:
    """Two messages that are alike are one line, whether or not it is shown."""
    for body in (b"one", b"two", b"two", b"two"):
        idle.put_letter(body, {}, content_type="text/plain")

    _, told = operate("dead", "list", "--limit", limit)
    assert (told["total"], len(told["dead"])) == (2, limit or 2)


def test_a_step_that_waits_for_nothing_but_its_letter_can_be_dropped(
    idle: Bench, operate: Operate
) -> None:
    """Its row is ready, and the ledger has no message to send again."""
    step_id = uuid4().hex
    body = json.dumps([[], {"name": step_id}, {}]).encode()
    idle.put_letter(body, {"id": step_id, "task": "mend.work", "root_id": step_id})
    idle.rows(
        "INSERT INTO step (id, task, queue, state, ready_at) VALUES (%s, 'mend.work', %s, 'ready', now())",
        step_id,
        POOL,
    )

    assert [each["id"] for each in operate("dead", "list")[1]["dead"]] == [step_id]
    assert operate("dead", "drop", step_id)[0] == 0
    assert idle.letters() == 0
    assert operate("dead", "list")[1]["total"] == 0
    assert idle.rows("SELECT state, reason, dropped_at IS NOT NULL FROM step") == [
        ("dead", "rejected", True)
    ]


def test_an_expired_step_is_kept_with_the_reason(bench: Bench, operate: Operate) -> None:
    """Nobody waits for it; its message is there all the same, and a replay is the newer wish."""
    name = uuid4().hex[:12]
    ago = datetime.now(UTC) - timedelta(minutes=1)
    step_id = bench.tasks["work"].apply_async(kwargs={"name": name}, expires=ago).id
    bench.wait_for(step_id, "failed")
    bench.wait_for_letters(1)

    [row] = operate("dead", "list", "--reason", "expired")[1]["dead"]
    assert (row["id"], row["in_queue"]) == (step_id, 1)
    assert "expires" in row["error"]


def test_the_error_of_a_step_whose_result_nobody_wanted(bench: Bench, operate: Operate) -> None:
    """An operator wants to know why it is dead."""
    name = uuid4().hex[:12]
    bench.break_(name)
    step_id = bench.tasks["work"].apply_async(kwargs={"name": name}, ignore_result=True).id
    bench.wait_for(step_id, "dead")

    [row] = operate("dead", "list", "--id", step_id)[1]["dead"]
    assert f"{name} is broken" in row["error"]


def test_a_message_of_the_old_protocol_is_listed_once(bench: Bench, operate: Operate) -> None:
    """Everything stands in its body, which no header describes: it is not run."""
    name = uuid4().hex[:12]
    body = {"id": name, "task": "mend.work", "args": [], "kwargs": {"name": name}, "retries": 0}
    address = bench.fleet.broker_url(POOL)
    with bench.app.connection_for_write(address) as connection:
        channel: Any = connection.default_channel
        message = channel.prepare_message(
            json.dumps(body), content_type="application/json", content_encoding="utf-8"
        )
        channel.basic_publish(message, "doorbell", POOL)
    wait_until(lambda: bench.letters() == 1, SECONDS)

    _, told = operate("dead", "list")
    assert [row["reason"] for row in told["dead"]] == ["unreadable"]
    assert bench.seen(f"ran {name}") == 0


@pytest.mark.parametrize("rate", ["inf", "nan", "0", "1e9"])
@pytest.mark.parametrize("command", [("dead", "replay", "--all"), ("ledger", "republish")])
def test_a_rate_that_is_none_is_refused(
    idle: Bench, capfd: pytest.CaptureFixture[str], command: tuple[str, ...], rate: str
) -> None:
    """In a sentence, and nothing is done."""
    assert run([*command, "--rate", rate]) == 2
    assert "--rate" in capfd.readouterr().err


def test_letters_are_found_by_the_brokers_word_for_why(idle: Bench, operate: Operate) -> None:
    """The list's own words are its filters' words."""
    step_id = uuid4().hex
    body = json.dumps([[], {"name": step_id}, {}]).encode()
    idle.put_letter(body, {"id": step_id, "task": "mend.work", "root_id": step_id})

    [row] = operate("dead", "list")[1]["dead"]
    assert [
        each["id"] for each in operate("dead", "list", "--reason", row["reason"])[1]["dead"]
    ] == [step_id]
