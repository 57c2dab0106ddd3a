"""The ground of game days and of quiet ones, and their options."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gamedays.grounds import Grounds, grounds
from tests.gamedays.inbox import Inbox, inbox


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--table", action="store_true", help="write what is seen into deploy/runbooks/README.md"
    )


@pytest.fixture
def writes_table(pytestconfig: pytest.Config) -> bool:
    """Whether what is seen goes into the table of game days."""
    return bool(pytestconfig.getoption("--table"))


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    """Whom Alertmanager tells."""
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def ground(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """The local cluster, up."""
    with grounds(box, tmp_path_factory.mktemp("gamedays")) as found:
        yield found
