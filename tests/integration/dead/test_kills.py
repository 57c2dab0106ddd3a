"""A replay that is killed anywhere loses nothing, and is finished by doing it again."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord, group

from routing.load import load
from services.ledger.dead_letters import DeadLetters
from services.ledger.dead_pass import perform
from services.ledger.dead_steps import Selection, look_into, select
from services.ledger.relay import relay_once
from services.ledger.replay import Operator, replay
from tests.integration.dead.conftest import POOL, Bench, Operate
from tests.integration.dead.killed import POINTS
from tests.support.fleet import ROOT, wait_until

SECONDS = 30


def _killed(bench: Bench, point: str, *arguments: str) -> None:
    """Run the command until it dies at that point."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.dead.killed", point, *arguments, "--yes"],
        env=bench.fleet.environment("operator"),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stderr.decode()


def _break_a_leaf(bench: Bench, name: str, planned: bool) -> UUID | None:
    bench.break_(name)
    work, collect = bench.tasks["work"], bench.tasks["collect"]
    canvas: Any = chord([work.s(name=name), work.s(name=f"{name}-b")], collect.s(name=f"{name}-c"))
    if planned:
        return bench.accept(chain(work.s(name=f"{name}-0"), canvas, app=bench.app))
    canvas.apply_async()
    return None


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "by hand"])
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_replay_is_finished_by_the_next(
    bench: Bench, operate: Operate, point: str, planned: bool
) -> None:
    """Whatever was committed runs once; the rest of the chord follows; no letter is left over."""
    name = uuid4().hex[:12]
    workflow = _break_a_leaf(bench, name, planned)
    step_id = bench.dead_id(name)
    bench.wait_for_letters(1)
    wait_until(bench.is_quiet, SECONDS)
    bench.mend(name)

    _killed(bench, point, "dead", "replay", step_id)
    bench.wait_for_letters(1)
    code, told = operate("dead", "replay", step_id)
    if point == "before_commit":
        assert (code, len(told["done"])) == (0, 1)
    else:
        assert (code, told["done"]) == (1, [])
        assert told["problems"][0]["problem"].startswith("it is ")
        # Nobody runs a relay here: after its grace it publishes what the killed one could not.
        wait_until(lambda: relay_once(bench.app.ledger) or bench.is_quiet(), SECONDS)
    expected = {name: 2, f"{name}-b": 1, f"{name}-c": 1}
    wait_until(lambda: bench.runs(*expected) == expected, SECONDS)
    wait_until(bench.is_quiet, SECONDS)
    assert bench.runs(*expected) == expected
    assert bench.value("SELECT generation FROM step WHERE id = %s", step_id) == 2
    if workflow is not None:
        bench.ended(workflow, "done")
        assert bench.workflow_state(workflow) == ("done", 2)
    operate("dead", "replay", "--queue", POOL)
    bench.wait_for_letters(0)


def test_a_sibling_that_ends_meanwhile_does_not_see_the_old_failure(bench: Bench) -> None:
    """Between a replay and its step's end the join is complete but for that step: nothing is blocked again."""
    name = uuid4().hex[:12]
    slow, body_name = f"{name}-slow", f"{name}-body"
    bench.break_(name)
    bench.break_(slow)
    work = bench.tasks["work"]
    body = bench.tasks["collect"].s(name=body_name)
    body.link_error(bench.tasks["on_error"].s(body_name))
    late = bench.tasks["come_back"].signature((slow, 10), immutable=True)
    header = group(work.s(name=name), late, app=bench.app)
    workflow = bench.accept(chain(work.s(name=f"{name}-0"), header, body, app=bench.app))
    step_id = bench.dead_id(name)
    assert bench.seen(f"error {body_name}") == 0
    bench.mend(name)
    bench.mend(slow)

    _killed(bench, "after_commit", "dead", "replay", step_id)
    wait_until(lambda: bench.seen(f"ran {slow} 1") == 1, SECONDS)
    states = "SELECT state FROM step WHERE workflow_id = %s ORDER BY position"
    waiting = [("done",), ("ready",), ("done",), ("planned",)]
    wait_until(lambda: bench.rows(states, workflow) == waiting, SECONDS)
    wait_until(lambda: relay_once(bench.app.ledger), SECONDS)
    bench.ended(workflow, "done")
    assert bench.seen(f"error {body_name}") == 0
    assert bench.runs(name, body_name) == {name: 2, body_name: 1}


def test_two_replays_at_once_begin_one_generation(bench: Bench) -> None:
    """Both see the same steps; each step is taken by one of them."""
    count = 20
    names = [uuid4().hex[:12] for _ in range(count)]
    for name in names:
        bench.break_(name)
    work = bench.tasks["work"]
    workflows = [
        bench.accept(chain(work.s(name=name), work.s(name=f"{name}-2"), app=bench.app))
        for name in names
    ]
    for workflow in workflows:
        bench.ended(workflow, "dead")
    bench.wait_for_letters(count)
    for name in names:
        bench.mend(name)
    start = threading.Barrier(2)

    def replayed(_: int) -> int:
        operator = Operator("test@test", "replay", load().work_exchange)
        ledger = bench.app.ledger
        with (
            DeadLetters(bench.fleet.broker_url("operator")) as letters,
            ledger.connect() as connection,
        ):
            selection = Selection(task="mend.work")
            survey = select(connection, selection)
            connection.rollback()
            start.wait(30)
            look_into(connection, letters, [POOL], selection, survey)
            result = perform(ledger, connection, letters, survey, operator, 1000)
            ledger.publisher().close()
            return len(result.done)

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(replayed, range(2))) == count
    for workflow in workflows:
        bench.ended(workflow, "done")
        assert bench.workflow_state(workflow) == ("done", 2)
    assert {bench.seen(f"ran {name}") for name in names} == {2}


def test_a_letter_in_hand_does_not_undo_what_somebody_else_has_replayed(bench: Bench) -> None:
    """One operator holds the letter, another replays from the ledger's copy: one generation begins."""
    name = uuid4().hex[:12]
    bench.break_(name)
    workflow = bench.accept(chain(bench.tasks["work"].s(name=name), app=bench.app))
    bench.ended(workflow, "dead")
    bench.wait_for_letters(1)
    bench.mend(name)
    operator = Operator("test@test", "replay", load().work_exchange)
    ledger = bench.app.ledger
    with (
        DeadLetters(bench.fleet.broker_url("operator")) as letters,
        ledger.connect() as connection,
    ):
        survey = select(connection, Selection(task="mend.work"))
        look_into(connection, letters, [POOL], Selection(task="mend.work"), survey)
        assert [len(dead.letters) for dead in survey.dead] == [1]
        with ledger.connect() as others:
            replay(others, [replace(survey.dead[0], letters=[])], operator, set())
            others.commit()

        result = perform(ledger, connection, letters, survey, operator, 1000)
        ledger.publisher().close()
    assert [each.problem is None for each in result.acted] == [False]
    wait_until(lambda: relay_once(bench.app.ledger), SECONDS)
    bench.ended(workflow, "done")
    assert bench.workflow_state(workflow) == ("done", 2)
    assert bench.seen(f"ran {name}") == 2
