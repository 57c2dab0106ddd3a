"""Celery's signals are sent in workers as always: libraries such as Sentry's and OpenTelemetry's hook in there."""

from __future__ import annotations

import pytest

from tests.integration.runner.conftest import SECONDS, Bench
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
