"""`doorbell dead` and `doorbell workflow resume`: what is listed, shown, replayed and dropped, and what is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from celery import chain

from services.cli.main import run
from services.ledger.dead_letters import DeadLetters
from tests.integration.dead.conftest import POOL, Bench, Operate
from tests.support.fleet import wait_until

SECONDS = 30


def _message(step_id: str, task: str = "mend.work") -> tuple[bytes, dict[str, Any]]:
    """A readable message of a step that the worker would run."""
    body = json.dumps([[], {"name": step_id}, {}]).encode()
    return body, {"id": step_id, "task": task, "retries": 3, "root_id": step_id, "lang": "py"}


def _given_up(bench: Bench, name: str, user: str = "ada", how: str = "broken") -> tuple[str, Any]:
    """A workflow of two steps whose first one is given up; returns the step and the workflow."""
    bench.break_(name, how)
    canvas = chain(
        bench.tasks["work"].s(name=name), bench.tasks["work"].s(name=f"{name}-2"), app=bench.app
    )
    workflow_id = bench.accept(canvas, user)
    letters = bench.letters()
    step_id = bench.dead_id(name)
    wait_until(lambda: bench.letters() > letters or bench.is_quiet(), SECONDS)
    bench.ended(workflow_id, "failed" if how == "refused" else "dead")
    return step_id, workflow_id


def _names(count: int) -> list[str]:
    return [uuid4().hex[:12] for _ in range(count)]


def test_the_list_and_its_filters(bench: Bench, operate: Operate) -> None:
    """Each filter takes what it says, alone and with others; the total counts what is not shown."""
    one, two = _names(2)
    user_one, user_two = f"user-{one}", f"user-{two}"
    broken, workflow = _given_up(bench, one, user_one)
    refused, _ = _given_up(bench, two, user_two, "refused")
    bench.wait_for_letters(2)
    bench.rows("UPDATE step SET finished_at = now() - interval '2 hours' WHERE id = %s", broken)

    def listed(*filters: object) -> set[str]:
        code, told = operate("dead", "list", *filters)
        assert code == 0
        return {dead["id"] for dead in told["dead"]}

    assert listed() == {broken, refused}
    assert listed("--id", broken) == {broken}
    assert listed("--pool", POOL) == listed("--queue", POOL) == {broken, refused}
    assert listed("--pool", "notifications") == set()
    assert listed("--task", "mend.work") == {broken, refused}
    assert listed("--task", "mend.collect") == set()
    assert listed("--user", user_two) == {refused}
    assert listed("--workflow", workflow) == {broken}
    assert listed("--older-than", "1h") == {broken}
    assert listed("--younger-than", "1h") == {refused}
    assert listed("--older-than", "1h", "--user", user_two) == set()
    for step_id in (broken, refused):
        reason = bench.value("SELECT reason FROM step WHERE id = %s", step_id)
        assert step_id in listed("--reason", reason)
    code, told = operate("dead", "list", "--limit", 1)
    assert (code, len(told["dead"]), told["total"], told["stale"]) == (0, 1, 2, 0)
    row = told["dead"][0]
    assert (row["id"], row["user_id"], row["workflow_id"]) == (broken, user_one, str(workflow))
    assert (row["in_queue"], row["in_ledger"]) == (1, True)
    assert f"{one} is broken" in row["error"]


def test_show_tells_everything(bench: Bench, operate: Operate) -> None:
    """Message, error, traceback, what is blocked behind it, the letter, and who acted on it."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)

    code, shown = operate("dead", "show", step_id)
    assert code == 0
    assert shown["message"]["body"][1] == {"name": name}
    assert shown["workflow_id"] == str(workflow)
    assert f"{name} is broken" in shown["error"]
    assert "ValueError" in shown["traceback"]
    assert [step["task"] for step in shown["blocked"]] == ["mend.work"]
    assert [letter["cause"] for letter in shown["dead_letters"]] == ["rejected"]
    assert shown["dead_letters"][0]["body"] == shown["message"]["body"]
    assert shown["actions"] == []

    bench.mend(name)
    operate("dead", "replay", step_id)
    bench.ended(workflow, "done")
    _, shown = operate("dead", "show", step_id)
    assert (shown["state"], shown["error"], shown["result"]) == ("done", None, name)
    [action] = shown["actions"]
    assert (action["action"], action["generation"]) == ("replay", 2)
    assert "@" in action["actor"]
    assert shown["generation"] == 2
    code, complaint = operate("dead", "show", "nothing-of-that-name")
    assert code == 4
    assert "there is no step nothing-of-that-name" in complaint


def test_a_dry_run_changes_nothing(bench: Bench, operate: Operate) -> None:
    """Neither replay nor drop touches ledger or queue; both say what they would do."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)
    before = bench.rows("SELECT * FROM step WHERE workflow_id = %s ORDER BY id", workflow)

    for command in (
        ("dead", "replay", step_id),
        ("dead", "drop", step_id),
        ("workflow", "resume", workflow),
    ):
        code, told = operate(*command, "--dry-run")
        assert (code, told["dry_run"], [d["id"] for d in told["done"]]) == (0, True, [step_id])
    after = bench.rows("SELECT * FROM step WHERE workflow_id = %s ORDER BY id", workflow)
    assert after == before
    bench.wait_for_letters(1)
    assert bench.value("SELECT count(*) FROM dead_letter_action WHERE step_id = %s", step_id) == 0


def test_a_dropped_step_is_off_the_list_until_its_workflow_is_resumed(
    bench: Bench, operate: Operate
) -> None:
    """Its letter goes, its row stays; by its id or with its workflow it can still be replayed."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)

    code, told = operate("dead", "drop", "--user", "ada", "--id", step_id)
    assert (code, [d["id"] for d in told["done"]]) == (0, [step_id])
    bench.wait_for_letters(0)
    assert bench.state(step_id) == "dead"
    assert operate("dead", "list")[1]["dead"] == []
    code, told = operate("dead", "drop", step_id)
    assert (code, told["problems"][0]["problem"]) == (1, "it was dropped already")
    assert operate("dead", "replay", "--all")[1]["done"] == []

    bench.mend(name)
    code, told = operate("workflow", "resume", workflow)
    assert (code, [d["id"] for d in told["done"]]) == (0, [step_id])
    bench.ended(workflow, "done")
    actions = bench.rows(
        "SELECT action, generation FROM dead_letter_action WHERE step_id = %s ORDER BY id", step_id
    )
    assert actions == [("drop", 1), ("resume", 2)]
    code, complaint = operate("workflow", "resume", workflow)
    assert code == 1
    assert "is done" in complaint
    assert operate("workflow", "resume", uuid4())[0] == 4


def test_a_retried_step_has_all_its_retries_again(bench: Bench, operate: Operate) -> None:
    """The last try's message is what is kept; its replay begins at the first one."""
    [name] = _names(1)
    bench.break_(name)
    step_id = bench.tasks["come_back"].apply_async((name,), link_error=[]).id
    bench.wait_for(step_id, "dead")
    bench.wait_for_letters(1)
    assert (bench.seen(f"ran {name} 0"), bench.seen(f"ran {name} 1")) == (1, 1)

    assert operate("dead", "replay", step_id)[0] == 0
    wait_until(lambda: bench.seen(f"ran {name} 1") == 2, SECONDS)
    bench.wait_for(step_id, "dead")
    bench.wait_for_letters(1)
    assert (bench.seen(f"ran {name} 0"), bench.seen(f"ran {name} 1")) == (2, 2)
    bench.mend(name)
    assert operate("dead", "replay", step_id)[0] == 0
    bench.wait_for(step_id, "done")
    bench.wait_for_letters(0)


def test_a_message_of_which_the_ledger_knows_nothing(idle: Bench, operate: Operate) -> None:
    """What the broker gave up itself, or a ledger forgot, is listed and can be replayed."""
    [name] = _names(1)
    idle.put_letter(*_message(name))

    code, told = operate("dead", "list")
    assert code == 0
    [row] = told["dead"]
    assert (row["id"], row["state"], row["reason"]) == (name, "unknown", "rejected")
    assert (row["in_queue"], row["in_ledger"]) == (1, False)
    assert operate("dead", "list", "--user", "ada")[1]["dead"] == []
    assert operate("dead", "list", "--younger-than", "1h")[1]["total"] == 1
    assert operate("dead", "list", "--older-than", "1h")[1]["total"] == 0

    code, told = operate("dead", "replay", name)
    assert (code, [d["id"] for d in told["done"]]) == (0, [name])
    assert idle.letters() == 0
    idle.start()
    idle.wait_for(name, "done")
    assert idle.seen(f"ran {name}") == 1


def test_an_unreadable_message_is_named_and_kept_until_it_is_dropped(
    idle: Bench, operate: Operate
) -> None:
    """Without an id it has a name made of its body; a replay refuses it, and loses nothing."""
    idle.put_letter(b"\xff\xfenonsense", {}, content_type="text/plain")
    idle.put_letter(b"{}", {"id": "has-an-id", "task": "mend.work"})

    _, told = operate("dead", "list", "--reason", "unreadable")
    nameless, named = sorted(told["dead"], key=lambda row: row["id"] == "has-an-id")
    assert nameless["id"].startswith("unreadable-")
    assert len(nameless["id"]) == len("unreadable-") + 32
    assert named["error"] == "its body is not [args, kwargs, embed]"
    code, shown = operate("dead", "show", nameless["id"])
    assert (code, shown["dead_letters"][0]["body"]) == (0, "\\xff\\xfenonsense")

    code, told = operate("dead", "replay", "--all")
    assert (code, told["done"], len(told["problems"])) == (1, [], 2)
    assert all("nobody can read its message" in each["problem"] for each in told["problems"])
    idle.wait_for_letters(2)

    code, told = operate("dead", "drop", nameless["id"])
    assert (code, [d["id"] for d in told["done"]]) == (0, [nameless["id"]])
    idle.wait_for_letters(1)
    assert idle.rows("SELECT action, step_id FROM dead_letter_action") == [("drop", nameless["id"])]


def test_the_ledgers_copy_replays_a_step_whose_letter_was_lost(
    bench: Bench, operate: Operate
) -> None:
    """A rebuilt broker has no dead letters; the planned steps' messages are in the ledger."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)
    bench.node.manage("DELETE", f"queues/doorbell/{POOL}.dead/contents")
    bench.mend(name)

    assert operate("dead", "list")[1]["dead"][0]["in_queue"] == 0
    assert operate("dead", "replay", step_id)[0] == 0
    bench.ended(workflow, "done")


def test_a_step_without_any_message_is_named(bench: Bench, operate: Operate) -> None:
    """Sent by hand, never retried, its letter gone: there is nothing to replay."""
    [name] = _names(1)
    bench.break_(name)
    step_id = bench.tasks["work"].apply_async(kwargs={"name": name}).id
    bench.wait_for(step_id, "dead")
    bench.wait_for_letters(1)
    bench.node.manage("DELETE", f"queues/doorbell/{POOL}.dead/contents")

    code, told = operate("dead", "replay", step_id)
    assert code == 1
    assert "neither in the ledger nor in its dead-letter queue" in told["problems"][0]["problem"]
    assert bench.state(step_id) == "dead"


def test_stale_letters_are_counted_and_cleared(bench: Bench, operate: Operate) -> None:
    """A letter that an interrupted replay left: its step is done, so it is not given up."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)
    [(message,)] = bench.rows("SELECT message FROM step WHERE id = %s", step_id)
    bench.mend(name)
    operate("dead", "replay", step_id)
    bench.ended(workflow, "done")
    bench.stop()
    bench.put_letter(message["body"].encode(), message["headers"])
    bench.start()

    _, told = operate("dead", "list")
    assert (told["dead"], told["stale"]) == ([], 1)
    _, told = operate("dead", "replay", "--queue", POOL)
    assert (told["done"], told["stale_cleared"]) == ([], 1)
    assert bench.letters() == 0
    assert bench.seen(f"ran {name}") == 2


def test_a_letter_of_a_step_that_is_ready(idle: Bench, operate: Operate) -> None:
    """One of an earlier generation is stale; one of this generation is all that is left of the step."""
    [name] = _names(1)
    body, headers = _message(name)
    idle.put_letter(body, headers)
    operate("dead", "replay", name)
    idle.node.manage("DELETE", f"queues/doorbell/{POOL}/contents")
    idle.put_letter(body, headers)

    _, told = operate("dead", "list")
    assert (told["dead"], told["stale"]) == ([], 1)
    assert operate("dead", "drop", "--all")[1]["stale_cleared"] == 1
    [(message,)] = idle.rows("SELECT message FROM step WHERE id = %s", name)
    idle.put_letter(message["body"].encode(), message["headers"])
    _, told = operate("dead", "list")
    assert [(row["id"], row["state"], row["generation"]) for row in told["dead"]] == [
        (name, "ready", 2)
    ]
    assert operate("dead", "drop", name)[1]["problems"][0]["problem"].startswith("it is ready")
    assert operate("dead", "replay", name)[0] == 0
    assert idle.rows("SELECT state, generation FROM step") == [("ready", 3)]


def test_what_is_not_given_up_is_refused_by_name(bench: Bench, operate: Operate) -> None:
    """A done step, a blocked one, one that nobody knows: each with what it is."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    done = bench.tasks["work"].apply_async(kwargs={"name": f"{name}-done"}).id
    bench.wait_for(done, "done")
    blocked = bench.value(
        "SELECT id FROM step WHERE workflow_id = %s AND state = 'blocked'", workflow
    )

    code, told = operate("dead", "replay", done, blocked, "nobody", "--dry-run", step_id)
    assert code == 1
    assert {each["id"]: each["problem"] for each in told["problems"]} == {
        done: "it is done",
        blocked: "it is blocked: replay what it waits for",
        "nobody": "there is no such step, nor a dead letter",
    }
    assert [each["id"] for each in told["done"]] == [step_id]
    assert operate("dead", "replay", "nobody")[0] == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("replay",), "say which"),
        (("drop", "--limit", "5"), "say which"),
        (("list", "--queue", "nowhere"), "there is no queue 'nowhere'"),
        (("list", "--pool", "nowhere"), "there is no pool 'nowhere'"),
        (("list", "--older-than", "soon"), "write 90s, 10m, 1h or 2d"),
        (("list", "--limit", "9" * 20), "1000000000"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(
    bench: Bench, operate: Operate, arguments: tuple[str, ...], complaint: str
) -> None:
    """What is wrong and what to write, with exit code 2."""
    code, told = operate("dead", *arguments)
    assert code == 2
    assert complaint in told


def test_a_terminal_reads_the_same(
    bench: Bench, operate: Operate, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without --json: one line a step, and what was done in a sentence; who cannot be asked has to be sure."""
    [name] = _names(1)
    step_id, workflow = _given_up(bench, name)
    bench.wait_for_letters(1)

    assert run(["dead", "list"]) == 0
    out = capfd.readouterr().out
    assert step_id in out
    assert "queue+ledger" in out
    assert "1 step given up" in out
    assert run(["dead", "show", step_id]) == 0
    out = capfd.readouterr().out
    assert "traceback" in out
    assert "blocked behind it" in out
    bench.mend(name)
    for command in (["dead", "replay"], ["dead", "drop"]):
        assert run([*command, "--workflow", str(workflow)]) == 2
        assert f"{command[1]} with --yes" in capfd.readouterr().err
    assert run(["workflow", "resume", str(workflow)]) == 2
    assert run(["dead", "replay", "--workflow", str(workflow), "--yes"]) == 0
    assert "1 step replayed (mend.work 1)" in capfd.readouterr().out
    bench.ended(workflow, "done")


def test_a_pools_user_may_not_read_dead_letters(
    bench: Bench, operate: Operate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the user that may."""
    _given_up(bench, *_names(1))
    bench.wait_for_letters(1)
    monkeypatch.setenv("DOORBELL_BROKER_URL", bench.fleet.broker_url(POOL))

    code, complaint = operate("dead", "list")
    assert code == 1
    assert "user db_writes may not read" in complaint
    assert operate("dead", "list", "--ledger-only")[1]["total"] == 1


def test_without_a_broker_the_ledger_can_still_be_asked(
    bench: Bench, operate: Operate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs the broker says that it is away, and changes nothing."""
    step_id, _ = _given_up(bench, *_names(1))
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://operator:x@127.0.0.1:1/doorbell")

    assert operate("dead", "list", "--ledger-only")[1]["total"] == 1
    for command in ("list", "show", "replay", "drop"):
        code, complaint = operate("dead", command, *([] if command == "list" else [step_id]))
        assert code == 3
        assert "the broker does not answer" in complaint
    assert bench.state(step_id) == "dead"


def test_two_operators_at_once_do_no_harm(idle: Bench, operate: Operate) -> None:
    """While one holds the letters, another sees fewer; all return to their places."""
    names = _names(3)
    for name in names:
        idle.put_letter(*_message(name))
    address = idle.fleet.broker_url("operator")
    with DeadLetters(address) as first:
        held = list(first.read(POOL))
        assert [letter.id for letter in held] == names
        with DeadLetters(address) as second:
            assert list(second.read(POOL)) == []
        code, told = operate("dead", "replay", names[0])
        assert code == 4
        assert "nor a dead letter" in told
        first.acknowledge(held[1:2])
    idle.wait_for_letters(2)
    with DeadLetters(address) as third:
        assert [letter.id for letter in third.read(POOL)] == [names[0], names[2]]
