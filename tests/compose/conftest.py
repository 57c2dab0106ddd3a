"""The compose file brought up once a session, with secrets, data and ports of its own."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compose.stack import PUBLISHED, ROOT, Stack, free_ports, service_of
from tests.e2e.application import Application
from tests.e2e.waiting import wait_until

_HEALTHY_SECONDS = 120
_BUILD_SECONDS = 480


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compose", metavar="PROGRAM", help="Compose 1.29 or v2; tests/compose/run gives both"
    )
    parser.addoption(
        "--game-days-table",
        action="store_true",
        help="write what is seen of game days into deploy/runbooks/README.md",
    )


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """A fleet that has done its first login, the key for the next ones, and how long all of that took."""

    stack: Stack
    api_key: str
    seconds: float


@pytest.fixture(scope="session")
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A project with its image, of which nothing has run; removed with its data at the end."""
    program = request.config.getoption("--compose", default=None)
    if program is None:
        pytest.skip("needs a container engine and Compose: make test-compose")
    secrets = tmp_path_factory.mktemp("compose") / "private"
    subprocess.run([ROOT / "deploy" / "docker" / "secrets", secrets], check=True)
    project = f"doorbell-test-{uuid.uuid4().hex[:8]}"
    stack = Stack(program, project, secrets, free_ports(PUBLISHED))
    try:
        stack.compose("build", seconds=_BUILD_SECONDS)
        yield stack
    finally:
        print(stack.compose("logs", "--no-color", "--tail", "100"))
        stack.remove()


@pytest.fixture(scope="session")
def brought_up(built: Stack) -> BroughtUp:
    """From `up` to the first verdict, with a tenant that is made as deploy/docker/README.md tells."""
    began = time.monotonic()
    built.up()
    built.doorbell("tenant", "create", "shop", "The Shop")
    api_key = built.doorbell("key", "create", "shop")
    with Application(built.url("GATEWAY_PORT"), api_key) as application:
        workflow = application.report(user_id="first", user_agent="curl/8.5.0")
        assert application.wait_for_end(workflow, 120)["verdict"]
    return BroughtUp(built, api_key, time.monotonic() - began)


@pytest.fixture(scope="session")
def stack(brought_up: BroughtUp) -> Stack:
    """Everything up and healthy."""
    stack = brought_up.stack
    wait_until(lambda: not unhealthy(stack), _HEALTHY_SECONDS, "every container to be healthy")
    return stack


@pytest.fixture(scope="session")
def api_key(brought_up: BroughtUp) -> str:
    """The key of the stack's tenant."""
    return brought_up.api_key


@pytest.fixture
def application(stack: Stack, api_key: str) -> Iterator[Application]:
    """An application that reports its users' logins."""
    with Application(stack.url("GATEWAY_PORT"), api_key) as application:
        yield application


@pytest.fixture
def flower_auth(stack: Stack) -> tuple[str, str]:
    """Flower's only user, with the password."""
    user, _, password = Path(stack.secrets / "flower_auth").read_text().strip().partition(":")
    return user, password


def unhealthy(stack: Stack) -> list[str]:
    """The services that are not as they should be: healthy, or ended well where that is their way."""
    return [
        service_of(container)
        for container in stack.containers()
        if container["State"].get("Health", {}).get("Status") != "healthy"
        and (container["State"]["Running"] or container["State"]["ExitCode"])
    ]
