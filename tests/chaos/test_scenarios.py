"""Nothing accepted is lost and nothing happens twice, in every scenario."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.chaos.conftest import in_turn
from tests.chaos.execution import execute
from tests.chaos.rig import running_rig
from tests.chaos.scenario import load_scenarios
from tests.chaos.table import Result, head_line, line

ALL_LOGINS = 3000
"""Of the scenarios that have their turn, together."""
LEAST_LOGINS = 160
"""Of each: with fewer, a fault may be over before it has met a login."""

_SCENARIOS = load_scenarios()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        names = in_turn(sorted(_SCENARIOS), metafunc.config)
        logins = max(LEAST_LOGINS, math.ceil(ALL_LOGINS / len(names)))
        metafunc.parametrize(("name", "logins"), [(name, logins) for name in names], ids=names)


@pytest.mark.timeout(400)
def test_scenario(
    name: str, logins: int, seed: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Accepted is done, failed and dead, and each effect is there once.

    How soon work goes on is printed here and insisted on by the long run alone
    (`make chaos`): on a machine with other work it would be a timed test.
    """
    scenario = _SCENARIOS[name]
    began = time.monotonic()
    if scenario.plan is None:
        found = execute(request.getfixturevalue("rig"), scenario, seed, logins)
    else:
        with running_rig(tmp_path, scenario.plan) as own:
            found = execute(own, scenario, seed, logins)
    result = Result(name, seed, found, time.monotonic() - began)
    print(head_line(), line(result), sep="\n")
    assert found.is_well, f"{line(result)}\n{found.explain()}"
