"""CONTRIBUTING's recipe for an alert, followed in a copy of the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.gamedays.runbook import read
from tests.support.recipes import copy_of_the_repository, recipe

ALERT = "StepsComeBack"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy; its alerts are tried by promtool."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: install the package prometheus")
        pytest.skip("promtool is missing: install the package prometheus")
    return copy_of_the_repository(tmp_path)


def test_an_alert_is_whole(tree: Path) -> None:
    """promtool finds its rule right in both cases; page, row and rule agree; its page says when it is over."""
    followed = recipe("An alert")
    followed.change(tree)
    followed.finish(tree)

    [condition] = read(ALERT, tree / "deploy/runbooks").conditions()
    assert (condition.holds(0.5), condition.holds(2)) == (True, False)
