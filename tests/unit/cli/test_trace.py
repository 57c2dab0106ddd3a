"""How a workflow's steps are laid out as a tree."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from services.cli.trace import as_tree, parents, places

AT = datetime(2030, 1, 31, 8, 15, tzinfo=UTC)


def step(step_id: str, after: tuple[str, ...] = (), **facts: Any) -> dict[str, Any]:
    value = {
        "id": step_id,
        "task": f"pool.{step_id}",
        "state": "done",
        "planned": True,
        "after": list(after),
        "parent": None,
        "is_body": False,
        "group": None,
        "group_size": None,
        "role": None,
        "callbacks": [],
        "maps": None,
        "items": None,
        "waiting_seconds": 0.003,
        "attempts": 1,
        "retries": 0,
        "redeliveries": 0,
        "host": "h1",
        "published_at": AT,
        "due_at": None,
        "started_at": AT + timedelta(milliseconds=5),
        "finished_at": AT + timedelta(milliseconds=12),
        "result": None,
    }
    return value | facts


MAIN = [
    step("check"),
    step("notify", ("check",)),
    step("save", ("check",)),
    step("score", ("notify", "save")),
    step("apply", ("score",)),
]


def shown(steps: list[dict[str, Any]], **facts: Any) -> str:
    workflow = {
        "workflow_id": "w",
        "name": "login",
        "state": "done",
        "tenant_id": "shop",
        "user_id": "[bold]ada",
        "accepted_at": AT,
        "finished_at": AT + timedelta(milliseconds=54),
        "steps": steps,
        "verdict": None,
    }
    output = io.StringIO()
    Console(file=output, width=300).print(as_tree(workflow | facts))
    return output.getvalue()


def test_a_join_stands_beside_what_it_joins() -> None:
    """The chord's body is shown under the step before the chord, not under one member."""
    assert parents(MAIN) == {
        "check": None,
        "notify": "check",
        "save": "check",
        "score": "check",
        "apply": "score",
    }


def test_what_was_not_planned_stands_under_its_sender() -> None:
    """Error callbacks and deliveries are seen where they came from."""
    steps = [*MAIN, step("deliver", parent="notify", planned=False), step("lost", planned=False)]
    above = parents(steps)
    assert (above["deliver"], above["lost"]) == ("notify", None)
    text = shown(steps)
    assert "pool.deliver done, not planned" in text


def test_a_tree_tells_states_times_hosts_and_results() -> None:
    """One line a step answers where, when, how often and what came out."""
    failed = step("save", ("check",), state="dead", retries=8, attempts=9, result={"exc": "[x]"})
    verdict = {
        "level": "high",
        "action": "deny",
        "score": 0.93,
        "reasons": ["new country"],
        "late": True,
    }
    text = shown([MAIN[0], MAIN[1], failed, MAIN[3]], verdict=verdict)
    assert "login w: done after 54 ms (shop, user [bold]ada" in text
    assert "pool.check done, 1 attempt, +5 ms, waited 3 ms, took 7 ms, on h1" in text
    assert "pool.save dead, 9 attempts, 8 retries" in text
    assert '{"exc": "[x]"}' in text
    assert "joins notify + save" in text
    assert "verdict: high, deny, score 0.930 (new country), late" in text


def test_what_waits_says_for_what() -> None:
    """A step that is not running says whether its message went out, or when it is due."""
    names = ("started_at", "finished_at", "waiting_seconds", "host")
    nothing: dict[str, Any] = {**dict.fromkeys(names), "attempts": 0}
    waiting = step("check", state="ready", published_at=None, **nothing)
    assert "check ready, not published yet" in shown([waiting])
    retrying = step("check", state="retrying", due_at=AT + timedelta(seconds=9), **nothing)
    assert "check retrying, published, due 08:15:09" in shown([retrying])
    assert "apply planned" in shown([step("apply", state="planned", **nothing)])


def test_where_else_to_look() -> None:
    """Commands as they are typed: on one machine its own log, else those of containers and of hosts."""
    workflow = {"workflow_id": "w", "steps": [step("check"), step("save", host="h2")]}
    assert [place.strip() for place in places(workflow, Path("/c/.local/logs"))[1:]] == [
        "grep -h w /c/.local/logs/*.log",
        "kwargs:workflow=w   # in the search of Flower's tasks",
    ]
    assert [place.strip() for place in places(workflow, None)[1:3]] == [
        "docker compose logs --no-log-prefix | grep w",
        "journalctl --unit 'doorbell-*' --grep w   # on h1, h2",
    ]
