"""What is kept of a step's place in a canvas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group, xstarmap

from routing.load import load
from services.celery_app import DoorbellApp, make_app
from services.ledger.shape import shape_of, shape_of_message
from services.ledger.unit import Unit
from services.settings import Settings


@pytest.fixture(scope="module")
def app() -> Iterator[DoorbellApp]:
    made = make_app(Settings("pyamqp://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x"), load())
    made.conf.task_routes = ({"*": {"queue": "db_writes"}},)
    yield made
    made.close()


def shapes(canvas: Any) -> list[dict[str, Any]]:
    """What the messages say that are sent at once."""
    unit = Unit()
    with unit.active():
        canvas.apply_async()
    return [json.loads(shape_of_message(each) or "{}") for each in unit.messages]


def test_a_lone_step_has_no_place(app: DoorbellApp) -> None:
    """Nothing is kept of what beat sends."""
    assert shapes(app.signature("a.b", args=("secret",))) == [{}]


def test_what_follows_is_told_with_what_it_waits_for(app: DoorbellApp) -> None:
    """Chains, groups in them, bodies and callbacks: names and ids, and no argument."""

    def step(name: str) -> Any:
        return app.signature(name, args=("secret",))

    canvas = chain(
        step("a"),
        group(chain(step("b"), step("c"), app=app), step("d"), app=app),
        step("e").set(link=[step("l")]),
        app=app,
    ).on_error(step("x"))
    (first,) = shapes(canvas)
    assert "secret" not in json.dumps(first)
    assert first["link_error"] == ["x"]
    by_task = {each["task"]: each for each in first["next"]}
    ids = {task: each["id"] for task, each in by_task.items()}
    assert list(by_task) == ["b", "c", "d", "e"]
    assert by_task["c"]["after"] == [ids["b"]]
    assert by_task["e"]["after"] == [ids["c"], ids["d"]]
    assert [task for task, each in by_task.items() if each.get("is_body")] == ["e"]
    assert by_task["e"]["link"] == ["l"]


def test_the_first_member_alone_tells_what_follows_the_body(app: DoorbellApp) -> None:
    """All others name the body: a header of a thousand does not keep it a thousand times."""
    header = [app.signature("m") for _ in range(3)]
    body = chain(app.signature("b"), app.signature("c"), app=app)
    first, *others = shapes(chord(header, body, app=app))
    assert [each["task"] for each in first["next"]] == ["b", "c"]
    assert [[each["task"] for each in other["next"]] for other in others] == [["b"], ["b"]]
    assert [each["index"] for each in (first, *others)] == [0, 1, 2]


def test_chains_of_a_group_know_each_other(app: DoorbellApp) -> None:
    """By the group in which they end, long before they do."""
    members = [chain(app.signature("a"), app.signature("b"), app=app) for _ in range(2)]
    one, other = shapes(chord(members, app.signature("c"), app=app))
    assert "group" not in one
    assert one["joins"] == other["joins"] == one["next"][0]["group"]


def test_a_map_says_of_what(app: DoorbellApp) -> None:
    """The task's name and the number of its items; also while it is to come."""
    (shape,) = shapes(xstarmap(app.signature("a"), [(1, 2), (3, 4)], app=app))
    assert shape == {"maps": "a", "items": 2}
    mapped = xstarmap(app.signature("a"), [(1, 2), (3, 4)], app=app)
    (shape,) = shapes(chain(app.signature("b"), mapped, app=app))
    assert [(it["maps"], it["items"]) for it in shape["next"]] == [("a", 2)]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        [[], {}, "no"],
        [[], {}, {"chain": [5]}],
        [[], {}, {"chord": {"task": "a", "options": None}}],
        [[], {}, {"chain": [{"task": "a\x00", "options": {"task_id": "b"}}]}],
        [[], {}, {"callbacks": {"task": 1}, "errbacks": 7}],
    ],
)
def test_a_body_that_nobody_of_ours_wrote_is_no_failure(body: Any) -> None:
    """It has no place, and stops nobody."""
    assert shape_of("s", {"task": "a", "group": "g\n", "group_index": 0}, body) is None


def test_a_body_without_bottom_is_no_failure() -> None:
    """Signatures nested deeper than Python goes."""
    signature: dict[str, Any] = {"task": "a", "options": {"task_id": "s"}}
    for _ in range(5000):
        signature = {"task": "c", "subtask_type": "chain", "kwargs": {"tasks": [signature]}}
    assert shape_of("s", {"task": "a"}, [[], {}, {"chain": [signature]}]) is None
