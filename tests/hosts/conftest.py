"""One fleet for a session of tests: hosts that were never touched, then what site.yml makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gamedays.inbox import Inbox, inbox
from tests.hosts import inventory
from tests.hosts.controller import Controller, Recap
from tests.hosts.fleet import Fleet, import_image
from tests.hosts.grounds import Hosted, hosted
from tests.hosts.image import RELEASES
from tests.hosts.installation import Installation
from tests.hosts.network import HOSTS, OUTSIDE
from tests.hosts.world import INBOX_PORT, OUTLIER_API_PORT, SMTP_PORT, World, running_world

_ORDER = (
    "test_doors",
    "test_harness",
    "test_site",
    "test_rights",
    "test_losses",
    "test_deploy",
    "test_brokers",
    "test_rotation",
    "test_coming_and_going",
    "test_alerts",
    "test_backup",
    "test_game_days",
)
"""Modules in the order of a fleet's life; the later ones rely on what the earlier ones have built."""

PERMANENT = tuple(name for name, host in HOSTS.items() if host.groups)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--release", choices=RELEASES, default=RELEASES[0], help="the Debian of the hosts"
    )
    parser.addoption(
        "--hosts-table",
        action="store_true",
        help="write what is seen of game days into deploy/runbooks/README.md",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mine = [item for item in items if item.path.parent == here]
    places = iter([index for index, item in enumerate(items) if item in mine])
    for item in sorted(mine, key=lambda item: _ORDER.index(item.path.stem)):
        items[next(places)] = item


@pytest.fixture(scope="session")
def directory() -> Path:
    """Where the run keeps its files."""
    named = os.environ.get("HOSTS_DIRECTORY")
    if named is None:
        pytest.skip("needs hosts: make test-hosts")
    return Path(named)


@pytest.fixture(scope="session")
def controller(directory: Path) -> Controller:
    """A controller whose key opens every host."""
    controller = Controller(directory)
    controller.prepare()
    return controller


@pytest.fixture(scope="session")
def plain_fleet(controller: Controller) -> Iterator[Fleet]:
    """Every host of the inventory booted, and nothing done to it."""
    fleet = Fleet(import_image(Path(os.environ["HOSTS_IMAGE"])), controller.public_key)
    try:
        fleet.create(PERMANENT)
        yield fleet
    finally:
        if "HOSTS_KEEP" not in os.environ:
            fleet.remove()


@pytest.fixture(scope="session")
def world(directory: Path) -> Iterator[World]:
    """What Doorbell calls outside."""
    with running_world(directory) as running:
        yield running


@pytest.fixture(scope="session")
def site(plain_fleet: Fleet, controller: Controller, world: World, directory: Path) -> Recap:
    """How the first run of site.yml went."""
    release = {"doorbell_release": str(directory / "dist" / "doorbell.tar")}
    controller.set(inventory.small() | inventory.world(OUTLIER_API_PORT, SMTP_PORT) | release)
    return controller.play("site")


@pytest.fixture(scope="session")
def installation(
    plain_fleet: Fleet, controller: Controller, world: World, site: Recap
) -> Installation:
    """Doorbell at work on the fleet, with a tenant."""
    installation = Installation(plain_fleet, controller, world)
    installation.admit()
    return installation


@pytest.fixture(scope="session")
def box(installation: Installation) -> Iterator[Inbox]:
    """Whom the fleet's Alertmanager tells."""
    with inbox(str(OUTSIDE), INBOX_PORT) as found:
        hook = {"url": f"http://{OUTSIDE}:{INBOX_PORT}/", "send_resolved": True}
        installation.controller.set({"monitoring_alert_receiver": {"webhook_configs": [hook]}})
        installation.controller.play("site", "--tags=monitoring")
        yield found


@pytest.fixture(scope="session")
def ground(installation: Installation, box: Inbox) -> Iterator[Hosted]:
    """The fleet, for what pages are about."""
    with hosted(installation, box) as found:
        yield found


@pytest.fixture
def whole(installation: Installation) -> Iterator[Installation]:
    """The installation, with every host at work before and after."""
    installation.calm()
    yield installation
    installation.calm()
