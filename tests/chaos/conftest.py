"""One rig for a session of chaos tests; each scenario has users of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    parser.addoption(
        "--chaos-turns",
        type=int,
        default=1,
        metavar="N",
        help="run an Nth part of the scenarios, each day the next; with 1, all of them",
    )


def in_turn(names: Sequence[str], config: pytest.Config) -> list[str]:
    """Those of the scenarios whose turn it is today."""
    turns = int(config.getoption("--chaos-turns", default=1))
    return [name for number, name in enumerate(names) if (number - _today()) % turns == 0]


def _today() -> int:
    return datetime.now(UTC).toordinal()


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--chaos-seed", default=None)
    return int(given) if given is not None else _today()


@pytest.fixture(scope="session")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("rig")) as running:
        yield running


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """The shared rig, healthy whatever the test before has left."""
    shared_rig.calm()
    return shared_rig
