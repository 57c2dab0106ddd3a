"""A replayed step starts whatever waited for it, in each canvas and wherever in it the step stands."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord, group

from tests.integration.dead.conftest import Bench, Operate
from tests.support.fleet import wait_until

SECONDS = 30


class Names:
    """Signatures of tasks with names that no other test has."""

    def __init__(self, bench: Bench) -> None:
        self._tasks = bench.tasks
        self._prefix = uuid4().hex[:8]

    def full(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def work(self, name: str) -> Any:
        return self._tasks["work"].s(name=self.full(name))

    def body(self, name: str) -> Any:
        return self._tasks["collect"].s(name=self.full(name))

    def error(self, tag: str) -> Any:
        return self._tasks["on_error"].s(self.full(tag))


@dataclass(frozen=True)
class Case:
    """A canvas behind a first step, which of its steps break, and what runs in it besides these."""

    canvas: Callable[[Names], Any]
    broken: tuple[str, ...]
    others: tuple[str, ...]


CASES = {
    "middle of a chain": Case(
        lambda n: chain(n.work("a"), n.work("b"), n.work("c"), n.work("d")),
        ("b",),
        ("a", "c", "d"),
    ),
    "first of a chain": Case(lambda n: chain(n.work("a"), n.work("b")), ("a",), ("b",)),
    "leaf of a header": Case(
        lambda n: chord([n.work("a"), n.work("b")], n.body("body")), ("a",), ("b", "body")
    ),
    "middle of a chain in a header": Case(
        lambda n: chord(
            [chain(n.work("a"), n.work("b"), n.work("c")), n.work("d")], n.body("body")
        ),
        ("b",),
        ("a", "c", "d", "body"),
    ),
    "before a group in a header's chain": Case(
        lambda n: chord(
            [chain(n.work("a"), group(n.work("b"), n.work("c"))), n.work("d")], n.body("body")
        ),
        ("a",),
        ("b", "c", "d", "body"),
    ),
    "leaf before a group body": Case(
        lambda n: chord([n.work("a"), n.work("b")], group(n.body("x"), n.body("y"))),
        ("a",),
        ("b", "x", "y"),
    ),
    "leaf before a group body with a join": Case(
        lambda n: chain(
            group(n.work("a"), n.work("b")), group(n.body("x"), n.body("y")), n.body("z")
        ),
        ("b",),
        ("a", "x", "y", "z"),
    ),
    "leaf before the rest of a chain": Case(
        lambda n: chain(group(n.work("a"), n.work("b")), n.body("body"), n.work("c")),
        ("a",),
        ("b", "body", "c"),
    ),
    "leaf of an inner chord": Case(
        lambda n: chord(
            [chord([n.work("a"), n.work("b")], n.body("inner")), n.work("c")], n.body("outer")
        ),
        ("a",),
        ("b", "inner", "c", "outer"),
    ),
    "leaf of an inner chord with a chain as body": Case(
        lambda n: chord(
            [
                chord([n.work("a"), n.work("b")], chain(n.body("inner"), n.work("last"))),
                n.work("c"),
            ],
            n.body("outer"),
        ),
        ("a",),
        ("b", "inner", "last", "c", "outer"),
    ),
    "leaf of the innermost of three chords": Case(
        lambda n: chord(
            [
                chord(
                    [chord([n.work("a"), n.work("b")], n.body("one")), n.work("c")], n.body("two")
                ),
                n.work("d"),
            ],
            n.body("three"),
        ),
        ("b",),
        ("a", "one", "c", "two", "d", "three"),
    ),
    "body of a chord": Case(
        lambda n: chord([n.work("a"), n.work("b")], n.body("body")), ("body",), ("a", "b")
    ),
    "body of an inner chord": Case(
        lambda n: chord(
            [chord([n.work("a"), n.work("b")], n.body("inner")), n.work("c")], n.body("outer")
        ),
        ("inner",),
        ("a", "b", "c", "outer"),
    ),
    "two leaves of a header": Case(
        lambda n: chord([n.work("a"), n.work("b"), n.work("c")], n.body("body")),
        ("a", "c"),
        ("b", "body"),
    ),
    "leaves of an inner and an outer chord": Case(
        lambda n: chord(
            [chord([n.work("a"), n.work("b")], n.body("inner")), n.work("c")], n.body("outer")
        ),
        ("a", "c"),
        ("b", "inner", "outer"),
    ),
}


def _send(bench: Bench, names: Names, case: Case, planned: bool) -> UUID | None:
    for name in case.broken:
        bench.break_(names.full(name))
    canvas = case.canvas(names)
    if not planned:
        canvas.apply_async()
        return None
    # A planned canvas begins with a task, as the product's own does.
    return bench.accept(chain(names.work("first"), canvas, app=bench.app))


def _given_up(bench: Bench, names: Names, case: Case) -> list[str]:
    found = [bench.dead_id(names.full(name)) for name in case.broken]
    wait_until(bench.is_quiet, SECONDS, "what could run")
    bench.wait_for_letters(len(case.broken))
    return found


def _wait_for_all(bench: Bench, names: Names, case: Case) -> None:
    everything = [names.full(name) for name in (*case.broken, *case.others)]
    expected = {names.full(name): 2 for name in case.broken}
    expected |= {names.full(name): 1 for name in case.others}
    wait_until(lambda: bench.runs(*everything) == expected, SECONDS, str(expected))
    wait_until(bench.is_quiet, SECONDS)
    assert bench.runs(*everything) == expected


def _assert_nothing_is_left(bench: Bench, workflow_id: UUID | None) -> None:
    if workflow_id is not None:
        bench.ended(workflow_id, "done")
        states = bench.rows(
            "SELECT DISTINCT state, status FROM step WHERE workflow_id = %s AND task <> %s",
            workflow_id,
            "mend.on_error",
        )
        assert states == [("done", "SUCCESS")]
    assert bench.value("SELECT count(*) FROM step WHERE state = 'planned'") == 0
    assert bench.value("SELECT count(*) FROM join_part WHERE status <> 'SUCCESS'") == 0
    # Celery declares a join for each group; one that is nobody's header stays open.
    assert bench.value("SELECT count(*) FROM join_point WHERE state = 'blocked'") == 0
    assert bench.letters() == 0


@pytest.fixture
def clean(bench: Bench) -> Bench:
    """The bench without what an earlier test left behind, so that the whole ledger can be looked at."""
    bench.rows("TRUNCATE workflow, step, join_point, dead_letter_action CASCADE")
    return bench


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "by hand"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_all_at_once(clean: Bench, operate: Operate, case: Case, planned: bool) -> None:
    """Everything given up is replayed together: each other step runs once, and nothing is left over."""
    names = Names(clean)
    workflow_id = _send(clean, names, case, planned)
    _given_up(clean, names, case)
    for name in case.broken:
        clean.mend(names.full(name))

    code, told = operate("dead", "replay", "--all", "--rate", 1000)

    assert (code, len(told["done"]), told["problems"]) == (0, len(case.broken), [])
    _wait_for_all(clean, names, case)
    _assert_nothing_is_left(clean, workflow_id)
    if workflow_id is not None:
        assert clean.workflow_state(workflow_id) == ("done", 2)


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "by hand"])
@pytest.mark.parametrize(
    ("case", "order"),
    [
        pytest.param(CASES[name], order, id=f"{name} {order}")
        for name in ("two leaves of a header", "leaves of an inner and an outer chord")
        for order in itertools.permutations((0, 1))
    ],
)
def test_one_after_the_other(
    clean: Bench, operate: Operate, case: Case, planned: bool, order: tuple[int, ...]
) -> None:
    """The first one's replay starts nothing that still waits for the second."""
    names = Names(clean)
    workflow_id = _send(clean, names, case, planned)
    ids = _given_up(clean, names, case)
    for name in case.broken:
        clean.mend(names.full(name))

    first, second = (ids[index] for index in order)
    assert operate("dead", "replay", first)[0] == 0
    clean.wait_for(first, "done")
    wait_until(clean.is_quiet, SECONDS)
    assert set(clean.runs(names.full("outer"), names.full("body")).values()) == {0}
    if workflow_id is not None:
        wait_until(lambda: clean.workflow_state(workflow_id) == ("dead", 2), SECONDS)
    assert clean.state(second) == "dead"

    assert operate("dead", "replay", second)[0] == 0
    _wait_for_all(clean, names, case)
    _assert_nothing_is_left(clean, workflow_id)
    if workflow_id is not None:
        assert clean.workflow_state(workflow_id) == ("done", 3)


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "by hand"])
def test_error_callbacks_fire_once_a_generation(
    clean: Bench, operate: Operate, planned: bool
) -> None:
    """A step that fails again in its new generation tells its callbacks again, once, and blocks again."""
    names = Names(clean)
    broken, last = names.full("a"), names.full("last")
    clean.break_(broken)
    workflow_id = _send_with_errors(clean, names, planned)

    def errors() -> list[int]:
        return [clean.seen(f"error {names.full(tag)}") for tag in ("leaf", "body", "chain")]

    seen = []
    for generation in (1, 2, 3):
        step_id = clean.dead_id(broken)
        wait_until(clean.is_quiet, SECONDS)
        clean.wait_for_letters(1)
        seen.append(errors())
        if generation == 3:
            clean.mend(broken)
        assert operate("dead", "replay", step_id)[0] == 0
        wait_until(lambda n=generation: clean.seen(f"ran {broken}") > n, SECONDS)
    wait_until(lambda: clean.runs(last) == {last: 1}, SECONDS)
    wait_until(clean.is_quiet, SECONDS)

    assert min(seen[0]) >= 1
    assert seen == [[count * n for count in seen[0]] for n in (1, 2, 3)]
    assert errors() == seen[-1]
    assert set(clean.runs(names.full("b"), names.full("body")).values()) == {1}
    _assert_nothing_is_left(clean, workflow_id)


def _send_with_errors(bench: Bench, names: Names, planned: bool) -> UUID | None:
    leaf, body = names.work("a"), names.body("body")
    leaf.link_error(names.error("leaf"))
    body.link_error(names.error("body"))
    header = group(leaf, names.work("b"), app=bench.app)
    canvas = chain(names.work("first"), header, body, names.work("last"), app=bench.app)
    canvas.link_error(names.error("chain"))
    if planned:
        return bench.accept(canvas)
    canvas.apply_async()
    return None


def test_a_revoked_step_is_replayed_by_a_worker_that_heard_the_revoke(
    clean: Bench, operate: Operate
) -> None:
    """The worker remembers the step's id as revoked; a replay is a newer wish. A later revoke is newer still."""
    names = Names(clean)
    unwanted = names.work("b").set(task_id=names.full("unwanted"))
    clean.break_(names.full("a"))
    workflow_id = clean.accept(chain(names.work("a"), unwanted, names.work("c"), app=clean.app))
    clean.ended(workflow_id, "dead")
    revoke: Any = {"arguments": {"task_id": unwanted.id}, "reply": True, "timeout": 5, "limit": 1}
    assert clean.app.control.broadcast("revoke", **revoke)
    clean.mend(names.full("a"))
    assert operate("dead", "replay", clean.dead_id(names.full("a")))[0] == 0
    clean.ended(workflow_id, "failed")
    clean.wait_for_letters(1)

    code, told = operate("dead", "replay", unwanted.id)

    assert (code, len(told["done"])) == (0, 1)
    clean.ended(workflow_id, "done")
    assert clean.letters() == 0
