"""One rig for a session of chaos tests; each scenario has users of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.chaos.rig import Rig, running_rig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos-seed",
        type=int,
        metavar="N",
        help="the seed of the scenarios' dice; otherwise each day has its own",
    )


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--chaos-seed", default=None)
    return int(given) if given is not None else datetime.now(UTC).toordinal()


@pytest.fixture(scope="session")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("rig")) as running:
        yield running


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """The shared rig, healthy whatever the test before has left."""
    shared_rig.calm()
    return shared_rig
