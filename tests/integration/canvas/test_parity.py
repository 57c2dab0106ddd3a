"""Canvases that a programmer sends by hand end as with Celery's Redis backend, run side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group
from celery.result import GroupResult

from tests.integration.canvas.conftest import Workshop
from tests.support.fleet import wait_until

SECONDS = 20

Canvas = Callable[[Workshop], Any]

CANVASES: dict[str, Canvas] = {
    "chain": lambda w: chain(w.add.s(1, 1), w.add.s(2), w.add.s(3)),
    "group": lambda w: group(w.add.s(i, i) for i in range(4)),
    "chord": lambda w: chord([w.add.s(i, i) for i in range(4)], w.nested.s()),
    "chain of a group and a task": lambda w: chain(
        w.add.s(1, 1), group(w.add.s(1), w.add.s(2)), w.nested.s()
    ),
    "two groups in a chain": lambda w: chain(
        group(w.add.s(1, 1), w.add.s(2, 2)),
        w.total.s(),
        group(w.add.s(1), w.add.s(2)),
        w.nested.s(),
    ),
    "chain that ends with a group": lambda w: chain(w.add.s(1, 1), group(w.add.s(1), w.add.s(2))),
    "group of chains": lambda w: group(
        chain(w.add.s(1, 1), w.add.s(1)), chain(w.add.s(2, 2), w.add.s(2))
    ),
    "group in a header": lambda w: chord(
        [w.add.s(1, 1), group(w.add.s(2, 2), w.add.s(3, 3)), w.add.s(4, 4)], w.nested.s()
    ),
    "groups in groups in a header": lambda w: chord(
        [group(group(w.add.s(1, 1), w.add.s(2, 2)), w.add.s(3, 3)), w.add.s(4, 4)], w.nested.s()
    ),
    "chain in a header": lambda w: chord(
        [chain(w.add.s(1, 1), w.add.s(1)), w.add.s(2, 2)], w.nested.s()
    ),
    "chain with a group in a header": lambda w: chord(
        [chain(w.add.s(1, 1), group(w.add.s(1), w.add.s(2))), w.add.s(2, 2)], w.nested.s()
    ),
    "chord in a header": lambda w: chord(
        [chord([w.add.s(1, 1), w.add.s(2, 2)], w.total.s()), w.add.s(3, 3)], w.nested.s()
    ),
    "chord with a group body": lambda w: chord(
        [w.add.s(1, 1), w.add.s(2, 2)], group(w.total.s(), w.nested.s())
    ),
    "chord with a chain body": lambda w: chord(
        [w.add.s(1, 1), w.add.s(2, 2)], chain(w.total.s(), w.add.s(1))
    ),
    "chord with an empty header": lambda w: chord([], w.nested.s()),
    "replaced by a chain": lambda w: chain(w.become.s(1), w.add.s(100)),
    "replaced by a group": lambda w: chain(w.become_group.s(1), w.nested.s()),
    "replaced in a header": lambda w: chord([w.become.s(1), w.add.s(1, 1)], w.nested.s()),
    "chunks": lambda w: w.add.chunks([(1, 1), (2, 2), (3, 3)], 2),
    "failure in a chain": lambda w: chain(w.add.s(1, 1), w.fail.s(), w.add.s(1)).on_error(
        w.on_error.s("chain")
    ),
    "first of a chain fails": lambda w: chain(w.fail.s(), w.add.s(1)).on_error(
        w.on_error.s("chain")
    ),
    "two of a group fail": lambda w: _with_error(
        group(w.add.s(1, 1), w.fail.s(), w.fail.s()), w.on_error.s("group")
    ),
    "two of a header fail": lambda w: chord(
        [w.add.s(1, 1), w.fail.s(), w.fail.s()], w.nested.s().on_error(w.on_error.s("body"))
    ),
    "the body fails": lambda w: chord(
        [w.add.s(1, 1), w.add.s(2, 2)], w.fail.s().on_error(w.on_error.s("body"))
    ),
    "a chain in a header fails": lambda w: chord(
        [chain(w.add.s(1, 1), w.fail.s(), w.add.s(1)), w.add.s(2, 2)],
        w.nested.s().on_error(w.on_error.s("body")),
    ),
    "a header before a group body fails": lambda w: chord(
        [w.fail.s(), w.add.s(2, 2)],
        group(
            w.total.s().on_error(w.on_error.s("one")), w.nested.s().on_error(w.on_error.s("two"))
        ),
    ),
    "failure before the rest of a chain with a chord": lambda w: chain(
        w.fail.s(), group(w.add.s(1), w.add.s(2)), w.nested.s()
    ).on_error(w.on_error.s("chain")),
    "header of a chord in a chain fails": lambda w: chain(
        w.add.s(1, 1), group(w.fail.s(), w.add.s(2)), w.nested.s(), w.identity.s()
    ).on_error(w.on_error.s("chain")),
    "callbacks": lambda w: _with_link(w.add.s(1, 1), w.on_done.s()),
}


def _with_error(canvas: Any, errback: Any) -> Any:
    canvas.link_error(errback)
    return canvas


def _with_link(canvas: Any, callback: Any) -> Any:
    canvas.link(callback)
    return canvas


def _value(result: Any) -> Any:
    try:
        wait_until(result.ready, SECONDS)
    except AssertionError:
        return "hangs"
    return result.result if result.successful() else type(result.result).__name__


def _outcome(workshop: Workshop, canvas: Canvas) -> dict[str, Any]:
    workshop.forget()
    result = canvas(workshop).apply_async()
    leaves = result.results if isinstance(result, GroupResult) else [result]
    values = [_value(leaf) for leaf in leaves]
    return {"values": values, "states": [leaf.state for leaf in leaves]}


def _notes(workshop: Workshop) -> dict[str, int]:
    names = ("total", "nested", "error chain", "error group", "error body", "error one", "done")
    return {name: workshop.seen(name) for name in names}


@pytest.mark.filterwarnings(
    "ignore:.*task_allow_error_cb_on_chord_header:PendingDeprecationWarning"
)
@pytest.mark.parametrize("ours", ["db_writes"], indirect=True)
@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_ends_as_with_redis(name: str, ours: Workshop, stock: Workshop) -> None:
    """Values, states, and how often bodies and error callbacks ran are the same."""
    expected = _outcome(stock, CANVASES[name])
    # The stock worker's callbacks may come after the result; what ours does is then waited for.
    wait_until(lambda: _quiet(stock), SECONDS)
    notes = _notes(stock)

    assert _outcome(ours, CANVASES[name]) == expected
    wait_until(lambda: _notes(ours) == notes, SECONDS, f"{_notes(ours)} is not {notes}")


def _quiet(workshop: Workshop) -> bool:
    inspected = workshop.app.control.inspect(timeout=0.5).active() or {}
    return not any(inspected.values())
