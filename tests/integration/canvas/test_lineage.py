"""`doorbell trace` shows a canvas that a programmer has sent by hand: all that was planned, and what became of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from celery import chain, chord, group

from services.cli import trace
from services.cli.database import connected
from tests.integration.canvas.conftest import Workshop
from tests.support.fleet import wait_until

SECONDS = 30

pytestmark = [
    pytest.mark.parametrize("ours", ["db_writes"], indirect=True),
    pytest.mark.filterwarnings(
        "ignore:.*task_allow_error_cb_on_chord_header:PendingDeprecationWarning"
    ),
]


def read(workshop: Workshop, known_id: str) -> dict[str, Any] | None:
    assert workshop.settings is not None
    with connected(workshop.settings.database_url) as connection:
        return trace.read(connection, known_id)


def traced(workshop: Workshop, known_id: str, state: str, steps: int) -> dict[str, Any]:
    """The canvas once it has come to this."""

    def found() -> dict[str, Any] | None:
        canvas = read(workshop, known_id)
        is_so = canvas and (canvas["state"], len(canvas["steps"])) == (state, steps)
        return canvas if is_so else None

    try:
        return wait_until(found, SECONDS) or {}
    except AssertionError as error:
        error.add_note(str(read(workshop, known_id)))
        raise


def named(canvas: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its steps by what they have answered, for tests in which that tells them apart."""
    return {str(step["result"]): step for step in canvas["steps"]}


def above(canvas: dict[str, Any]) -> dict[str, str | None]:
    """Which step stands under which, by their results."""
    results = {step["id"]: str(step["result"]) for step in canvas["steps"]}
    return {
        results[step_id]: parent and results[parent]
        for step_id, parent in trace.parents(canvas["steps"]).items()
    }


def callbacks(step: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["task"], each["state"]) for each in step["callbacks"]]


def nested(workshop: Workshop) -> Any:
    canvas = chain(
        workshop.add.s(1, 1),
        group(chain(workshop.add.s(10), workshop.add.s(20)), workshop.add.s(3)),
        chord([workshop.total.s(), workshop.identity.s()], workshop.nested.s()),
    )
    canvas.link(workshop.on_done.s())
    canvas.link_error(workshop.on_error.s("nested"))
    return canvas


def test_a_nested_canvas_is_found_from_any_step(ours: Workshop) -> None:
    """Chains in groups, chords behind them and callbacks: one tree, whichever id is asked for."""
    sent = nested(ours).apply_async()
    canvas = traced(ours, sent.id, "done", 8)
    assert above(canvas) == {
        "2": None,
        "12": "2",
        "32": "12",
        "5": "2",
        "37": "2",
        "[32, 5]": "2",
        "[37, [32, 5]]": "2",
        "None": "[37, [32, 5]]",
    }
    steps = named(canvas)
    assert [key for key, step in steps.items() if not step["planned"]] == ["None"]
    assert (steps["None"]["role"], steps["[37, [32, 5]]"]["role"]) == ("link", "body")
    assert steps["32"]["group"] == steps["5"]["group"] != steps["37"]["group"]
    assert [steps[key]["group_index"] for key in ("32", "5", "37", "[32, 5]")] == [0, 1, 0, 1]
    assert steps["32"]["group_size"] == 2
    last = steps["[37, [32, 5]]"]
    assert last["callbacks"][0]["step"] == steps["None"]["id"]
    assert callbacks(last) == [
        ("link", "hand.on_done", "fired"),
        ("link_error", "hand.on_error", "will_not_fire"),
    ]
    assert ("body", "hand.nested", "fired") in callbacks(steps["37"])
    for step in canvas["steps"]:
        assert step["run_seconds"] >= 0
        assert (step["waiting_seconds"] is None) == (step["parent"] is None)
        assert step["host"] == "test"
        assert read(ours, step["id"]) == canvas


def test_what_is_to_come_is_planned(ours: Workshop) -> None:
    """While a step retries, the trace has the whole rest of the canvas behind it."""
    sent = chain(
        ours.come_back.s(1, times=3),
        group(ours.add.s(1), ours.add.s(2)),
        ours.total.s(),
        ours.add.s(1),
    ).apply_async()
    # The last step's id is what its sender has.
    canvas = traced(ours, sent.id, "accepted", 5)
    first, *others = canvas["steps"]
    assert [step["state"] for step in others] == ["planned"] * 4
    assert first["state"] in ("ready", "retrying")
    assert [step["task"] for step in others] == ["hand.add", "hand.add", "hand.total", "hand.add"]
    one, two, body, last = others
    assert body["after"] == [one["id"], two["id"]]
    assert body["id"] == last["parent"]
    assert (body["role"], last["role"]) == ("body", None)
    assert callbacks(one) == [("body", "hand.total", "waiting")]
    assert one["group"] == two["group"] != body["group"]
    assert sent.get(timeout=SECONDS) == 6
    assert len(traced(ours, sent.id, "done", 5)["steps"]) == 5


def test_chains_of_a_chord_are_one_canvas_from_the_start(ours: Workshop) -> None:
    """While each is at its first step; whichever is asked for."""
    sent = chord(
        [chain(ours.come_back.s(i, times=3), ours.add.s(1)) for i in (1, 2)], ours.total.s()
    ).apply_async()
    canvas = traced(ours, sent.id, "accepted", 5)
    for step in canvas["steps"]:
        found = read(ours, step["id"]) or {}
        assert [each["id"] for each in found["steps"]] == [each["id"] for each in canvas["steps"]]
    assert sent.get(timeout=SECONDS) == 5


def test_a_failed_member_blocks_its_body(ours: Workshop) -> None:
    """A chord that was sent first of all: its members know each other, and the error callback stands under the body."""
    sent = chord(
        [ours.add.s(1, 1), ours.fail.s()],
        ours.total.s().on_error(ours.on_error.s("body")),
    ).apply_async()
    canvas = traced(ours, sent.id, "dead", 4)
    by_state = {step["state"]: step for step in canvas["steps"]}
    steps = {step["task"]: step for step in canvas["steps"][::-1]}
    failed, body, told = (steps[f"hand.{name}"] for name in ("fail", "total", "on_error"))
    assert (failed["state"], failed["error"]) == ("dead", "ValueError: as asked")
    assert (body["state"], by_state["blocked"]["planned"]) == ("blocked", True)
    assert body["error"].startswith("ChordError: Dependency")
    assert len(body["after"]) == 2
    assert (told["parent"], told["role"]) == (body["id"], "link_error")
    assert ("body", "hand.total", "will_not_fire") in callbacks(failed)
    for step in canvas["steps"]:
        assert read(ours, step["id"]) == canvas


def test_the_rest_of_a_failed_chain_is_of_its_canvas(ours: Workshop) -> None:
    """Also what never ran leads to all others; links that will not fire are named."""
    last = ours.add.s(1)
    last.link(ours.on_done.s())
    sent = chain(ours.add.s(1, 1), ours.fail.s(), last).on_error(ours.on_error.s("c")).apply_async()
    canvas = traced(ours, sent.id, "dead", 4)
    # What never ran and what was told of it end at one moment.
    first, failed, blocked, told = sorted(
        canvas["steps"], key=lambda it: it["role"] == "link_error"
    )
    states = [step["state"] for step in (first, failed, blocked, told)]
    assert states == ["done", "dead", "blocked", "done"]
    assert first["children"] == [failed["id"]]
    assert sorted(failed["children"]) == sorted([blocked["id"], told["id"]])
    assert ("link_error", "hand.on_error", "fired") in callbacks(failed)
    assert ("link", "hand.on_done", "will_not_fire") in callbacks(blocked)


def test_a_group_is_found_by_its_id(ours: Workshop) -> None:
    """Of a group alone each member is a root; GroupResult's id, or any member's, finds all."""
    sent = group(ours.add.s(i, i) for i in range(4)).apply_async()
    canvas = traced(ours, sent.id, "done", 4)
    assert [step["result"] for step in canvas["steps"]] == [0, 2, 4, 6]
    assert {step["group"] for step in canvas["steps"]} == {sent.id}
    assert read(ours, sent.results[2].id) == canvas


@pytest.mark.parametrize("name", ["become", "become_group"])
def test_a_replaced_task_stands_behind_what_replaced_it(ours: Workshop, name: str) -> None:
    """Task.replace goes round in circles by its ids; the tree does not."""
    sent = chain(ours.add.s(1, 0), ours.tasks[name].s(), ours.identity.s()).apply_async()
    total = {"become": 4, "become_group": 5}[name]
    canvas = traced(ours, sent.id, "done", total)
    replaced_id = sent.parent.id
    first, last = canvas["steps"][0], canvas["steps"][-1]
    assert (first["result"], last["parent"]) == (1, replaced_id)
    instead = [step for step in canvas["steps"] if step["role"] == "replacement"]
    assert len(instead) == total - 3
    assert {step["parent"] for step in instead} == {first["id"]}
    replaced = next(step for step in canvas["steps"] if step["id"] == replaced_id)
    assert replaced["after"] == [step["id"] for step in instead]


def test_what_a_task_sends_is_not_planned(ours: Workshop) -> None:
    """It stands under the task whose code has sent it."""
    sent = ours.send_another.delay()
    canvas = traced(ours, sent.get(timeout=SECONDS), "done", 2)
    assert [(step["planned"], step["role"]) for step in canvas["steps"]] == [
        (True, None),
        (False, None),
    ]
    assert canvas["steps"][1]["parent"] == sent.id


def test_a_starmap_tells_of_what(ours: Workshop) -> None:
    """A step of many items has the task's name and their number."""
    sent = chain(ours.add.starmap([(1, 1), (2, 2)]), ours.total.s()).apply_async()
    mapped, _ = traced(ours, sent.id, "done", 2)["steps"]
    assert (mapped["task"], mapped["maps"], mapped["items"]) == ("celery.starmap", "hand.add", 2)
    assert mapped["result"] == [2, 4]


def test_it_can_be_followed(ours: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the id that its sender has, the last step's: each new state, then the end of the whole canvas."""
    assert ours.settings is not None
    monkeypatch.setenv("DOORBELL_DATABASE_URL", ours.settings.database_url)
    monkeypatch.setenv("DOORBELL_BROKER_URL", ours.settings.broker_url)
    sent = chain(ours.come_back.s(1, times=3), ours.add.s(1)).apply_async()
    first_id = sent.parent.id
    wait_until(lambda: read(ours, first_id), SECONDS)
    command = "import sys; from services.cli.main import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", command, "trace", sent.id, "--follow", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        try:
            with ours.app.ledger.connection() as connection:
                # Nobody goes on while its row is held: what is shown first is the canvas as it stands.
                connection.execute("SELECT FROM step WHERE id = %s FOR UPDATE", [first_id])
                changes = [next(lines) for _ in range(3)]
            changes += lines
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    assert {(change["workflow"], change["canvas"]) for change in changes} == {(None, first_id)}
    states = [change["state"] for change in changes if change.get("step") == sent.id]
    assert (states[0], states[-1]) == ("planned", "done")
    assert changes[-1] == {"workflow": None, "state": "done", "canvas": first_id}


def test_nobody_knows_what_was_never_sent(ours: Workshop) -> None:
    """An id that is none is no canvas."""
    assert read(ours, "no-such-step") is None
