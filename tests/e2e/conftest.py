"""The real cluster, brought up once a session in a directory and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from selenium import webdriver

from deploy.local import cluster as local_cluster
from deploy.local import postgres, rabbitmq
from deploy.local.choices import Choices
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.process import ClusterError
from deploy.local.supervision import Supervisor
from routing.load import load as load_topology
from tests.e2e.application import Application
from tests.support.stalls import describe_pressure

_NEEDED = ("prometheus", "prometheus-alertmanager", "epmd")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster",
        type=Path,
        metavar="DIR",
        help="use the running cluster in DIR (such as .local) in place of a new one",
    )
    parser.addoption(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="keep the pictures that the browser takes in DIR",
    )


@pytest.fixture(scope="session")
def layout(request: pytest.FixtureRequest) -> Iterator[Layout]:
    """The directory of a cluster that is up and well."""
    if given := request.config.getoption("--cluster"):
        yield Layout(given.resolve())
        return
    _require_services()
    layout = Layout(REPOSITORY / ".local" / "e2e")
    local_cluster.remove(layout)
    try:
        try:
            local_cluster.up(layout, Choices(), print, usual_ports=False)
        except ClusterError as error:
            error.add_note(describe_pressure())
            with suppress(Exception):
                error.add_note(_stacks_of_pools(layout))
            raise
        yield layout
    finally:
        local_cluster.down(layout)


def _stacks_of_pools(layout: Layout) -> str:
    """Where each pool's process stands at this moment: Celery's workers tell when they get SIGUSR1."""
    running = {
        state["name"]: state["pid"]
        for state in Supervisor(layout).states().values()
        if state["statename"] == "RUNNING"
        and state["name"].partition(".")[0] in load_topology().pools
    }
    sizes = {name: layout.log(name).stat().st_size for name in running}
    for pid in running.values():
        os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(
        layout.log(name).stat().st_size == sizes[name] for name in running
    ):
        time.sleep(0.1)
    return "\n".join(
        f"{name}: {layout.log(name).read_bytes()[sizes[name] :].decode(errors='replace')}"
        for name in running
    )


@pytest.fixture(scope="session")
def endpoints(layout: Layout) -> dict[str, str]:
    """What endpoints.json tells whoever uses the cluster."""
    content: dict[str, str] = json.loads(layout.endpoints.read_text())
    return content


@pytest.fixture(scope="session")
def application(endpoints: dict[str, str]) -> Iterator[Application]:
    """An application that reports its users' logins."""
    with Application(endpoints["gateway"], endpoints["api_key"]) as application:
        yield application


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium, without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    # Root's browser has no sandbox, and a container's /dev/shm is too small for it.
    for argument in (
        "--headless=new",
        "--window-size=1400,900",
        "--no-sandbox",
        "--disable-dev-shm-usage",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    running = webdriver.Chrome(options, service)
    try:
        yield running
    finally:
        running.quit()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pictures of the pages go: --pictures DIR keeps them."""
    given: Path | None = request.config.getoption("--pictures")
    return given.resolve() if given else tmp_path


def _require_services() -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    for module, name in ((postgres, "postgres"), (rabbitmq, "rabbitmq-server")):
        try:
            module.find_binary(name)
        except ClusterError:
            missing.append(name)
    if missing:
        reason = f"not installed: {', '.join(missing)}; deploy/local/setup installs them"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
