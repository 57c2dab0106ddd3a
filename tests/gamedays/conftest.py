"""Options of game days."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--table", action="store_true", help="write what is seen into deploy/runbooks/README.md"
    )


@pytest.fixture
def writes_table(pytestconfig: pytest.Config) -> bool:
    """Whether what is seen goes into the table of game days."""
    return bool(pytestconfig.getoption("--table"))
