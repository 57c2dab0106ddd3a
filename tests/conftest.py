"""How tests share what they start."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_TOGETHER = {
    *("tests/e2e", "tests/integration/ansible", "tests/integration/canvas"),
    *("tests/integration/dead", "tests/integration/messaging", "tests/integration/pools"),
    *("tests/integration/recipes", "tests/integration/runner", "tests/integration/tls"),
    "tests/integration/workflow",
}
"""Folders whose tests share processes that take long to start."""

_APART = {
    f"tests/integration/workflow/test_{name}.py"
    for name in ("outlier_faults", "outages", "canary", "pauses", "rate_limits")
}
"""Modules of such a folder that have processes of their own: it would be waited for alone, being half of the time."""

_LONGEST_FIRST = (
    *("tests/integration/workflow", "apart", "tests/integration/messaging"),
    "tests/integration/tls",
    *("tests/integration/ansible", "tests/integration/pools", "tests/integration/dead"),
    *("tests/integration/runner", "tests/integration/canvas", "tests/e2e"),
    *("tests/contract/test_ansible_input.py", "tests/integration/security/test_openapi_fuzz.py"),
    *("tests/integration/security/test_erasure.py", "tests/integration/monitoring/test_traces.py"),
    *("tests/integration/cli/test_dead_lettering.py", "tests/integration/test_outlier_load.py"),
)
"""What takes a minute or more: what begins last is waited for alone."""


def _unit(nodeid: str) -> str:
    """What one worker does as a whole: a module, or the folder of those that share something."""
    module = nodeid.partition("::")[0]
    folder = module.rpartition("/")[0]
    if module in _APART:
        return "apart"
    return folder if folder in _TOGETHER else module


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, and what stands in a folder, or in a module, in a row."""
    places: dict[str, int] = {}

    def place(item: pytest.Item) -> tuple[int, int, int]:
        unit = _unit(item.nodeid)
        rank = _LONGEST_FIRST.index(unit) if unit in _LONGEST_FIRST else len(_LONGEST_FIRST)
        module = item.nodeid.partition("::")[0]
        folder = module.rpartition("/")[0]
        return rank, places.setdefault(folder, len(places)), places.setdefault(module, len(places))

    items.sort(key=place)


class UnitScheduling(LoadScopeScheduling):
    """With several workers, one of them has all tests of a module, or of a folder that shares processes.

    xdist's own marks for that (loadgroup) do not reach pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    """Used with `--dist loadscope`."""
    return UnitScheduling(config, log)
