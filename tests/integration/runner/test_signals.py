"""Celery's signals are sent in workers as always: libraries such as Sentry's and OpenTelemetry's hook in there."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.integration.runner.conftest import SECONDS, Bench
from tests.integration.runner.test_lists import names
from tests.integration.runner.test_process import events_of
from tests.support.fleet import wait_until

STYLES = [
    ("batch", "try.batch"),
    ("io", "try.call"),
    ("io", "try.coroutine"),
    ("batch", "try.plain"),
]


def _signals(bench: Bench, step_id: str, last: str) -> list[str]:
    """Those of one step in the order in which they came, once the last has."""

    def found() -> list[str] | None:
        names = [line.split()[1] for line in bench.lines("signal") if line.endswith(step_id)]
        return names if names[-1:] == [last] else None

    return wait_until(found, SECONDS, last) or []


@pytest.mark.parametrize(("style", "task"), STYLES)
def test_a_step_that_succeeds(request: pytest.FixtureRequest, style: str, task: str) -> None:
    """Received, begun, succeeded, over: each once."""
    bench: Bench = request.getfixturevalue(style)
    (step_id,) = bench.send(task, f"ok signals-{task}")
    assert _signals(bench, step_id, "task_postrun") == [
        *("task_received", "task_prerun", "task_success", "task_postrun")
    ]


@pytest.mark.parametrize(("style", "task"), STYLES)
def test_a_step_that_fails(request: pytest.FixtureRequest, style: str, task: str) -> None:
    """With the failure between, which is what such libraries report."""
    bench: Bench = request.getfixturevalue(style)
    (step_id,) = bench.send(task, f"raise signals-{task}")
    assert bench.ended([step_id]) == ["dead"]
    assert _signals(bench, step_id, "task_postrun") == [
        *("task_received", "task_prerun", "task_failure", "task_postrun")
    ]
    bench.dead_letter(step_id)


@pytest.mark.parametrize(("style", "task"), STYLES[:3])
def test_a_step_that_is_tried_again(request: pytest.FixtureRequest, style: str, task: str) -> None:
    """Each attempt has its own; then the limit of one retry is reached."""
    bench: Bench = request.getfixturevalue(style)
    (step_id,) = bench.send(task, f"unavailable signals-{task}")
    assert bench.ended([step_id]) == ["dead"]
    assert _signals(bench, step_id, "task_postrun") == [
        *("task_received", "task_prerun", "task_retry", "task_postrun"),
        *("task_received", "task_prerun", "task_failure", "task_postrun"),
    ]
    bench.dead_letter(step_id)


@pytest.mark.parametrize("style", ["batch", "io"])
def test_a_step_that_is_revoked(request: pytest.FixtureRequest, style: str) -> None:
    """Before it came, or while it waits in its process: nothing of it runs, and monitors hear why."""
    bench: Bench = request.getfixturevalue(style)
    early, late = (str(uuid4()) for _ in range(2))
    (gate,) = names("gate")
    with events_of(bench) as heard:
        bench.revoke(early)
        bench.send("try.batch", gate)
        wait_until(lambda: bench.ran(gate), SECONDS, "the list that the others wait for")
        for step_id in (early, late):
            bench.send("try.batch", f"ok revoked-{style}", task_id=step_id)
        wait_until(lambda: bench.unacked() == 3, SECONDS, "both steps")
        bench.revoke(late)
        bench.open(gate)
        assert bench.ended([early, late]) == ["failed", "failed"]
        assert _signals(bench, early, "task_revoked") == ["task_revoked"]
        assert _signals(bench, late, "task_revoked") == ["task_received", "task_revoked"]

        def kinds(step_id: str) -> list[str]:
            return [event["type"] for event in heard if event.get("uuid") == step_id]

        wait_until(lambda: {"task-revoked", "task-rejected"} <= {*kinds(late)}, SECONDS, str(heard))
        assert "task-failed" not in kinds(early) + kinds(late)
    bench.dead_letter(early)


@pytest.mark.parametrize(("style", "task"), STYLES[:2])
def test_a_step_that_is_given_up(request: pytest.FixtureRequest, style: str, task: str) -> None:
    """Nothing of it runs in this process: its failure is told all the same, as Celery tells it."""
    bench: Bench = request.getfixturevalue(style)
    (step_id,) = bench.send(task, f"stuck once-{task}", soft_time_limit=20, time_limit=2)
    assert bench.ended([step_id]) == ["dead"]
    assert _signals(bench, step_id, "task_failure") == [
        *("task_received", "task_received", "task_failure")
    ]
    bench.dead_letter(step_id)
    bench.wait_for_consumers(1)
