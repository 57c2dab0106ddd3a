"""Nothing accepted is lost and nothing happens twice, in every scenario."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.execution import execute
from tests.chaos.rig import running_rig
from tests.chaos.scenario import load_scenarios
from tests.chaos.table import Result, head_line, line

LOGINS = 160
"""Of each scenario: all together more than 3,000."""

_SCENARIOS = load_scenarios()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", sorted(_SCENARIOS))
def test_scenario(name: str, seed: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Accepted is done, failed and dead, and each effect is there once.

    How soon work goes on is printed here and insisted on by the long run alone
    (`make chaos`): on a machine with other work it would be a timed test.
    """
    scenario = _SCENARIOS[name]
    began = time.monotonic()
    if scenario.plan is None:
        found = execute(request.getfixturevalue("rig"), scenario, seed, LOGINS)
    else:
        with running_rig(tmp_path, scenario.plan) as own:
            found = execute(own, scenario, seed, LOGINS)
    result = Result(name, seed, found, time.monotonic() - began)
    print(head_line(), line(result), sep="\n")
    assert found.is_well, f"{line(result)}\n{found.explain()}"


def test_the_scenarios_together_are_enough() -> None:
    """Random chaos of at least 3,000 logins on every run."""
    assert len(_SCENARIOS) * LOGINS >= 3000
