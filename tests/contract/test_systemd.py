"""The units of the hosts agree with the topology, with the settings, and with the roles of the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from routing.load import load
from services.domain.errors import ConfigurationError
from services.gateway.__main__ import _SHUTDOWN_SECONDS
from services.settings import load as load_settings

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
TEMPLATES = ROOT / "ansible" / "roles" / "doorbell" / "templates"
TOPOLOGY = load()
UNITS = sorted(SYSTEMD.glob("*.service"))
# Of the image's roles these are no process of a host: a test's mail catcher, what Ansible does itself,
# the operator's command; and Flower, whose unit is monitoring's.
NO_UNIT = {"mail", "definitions", "doorbell", "flower"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with the units as the role installs them, and a release without its environment."""
    root = tmp_path_factory.mktemp("host")
    units = root / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
        (units / f"{unit.name}.d").mkdir()
        shutil.copy(SYSTEMD / "confinement.conf", units / f"{unit.name}.d")
    for target in ("sysinit", "basic", "shutdown", "network-online"):
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    release = root / "opt" / "doorbell" / "current" / "app" / "deploy" / "systemd"
    shutil.copytree(SYSTEMD, release)
    return root


def test_every_role_has_a_unit() -> None:
    """What the image can be, a host can run; a unit becomes the role that it is named after."""
    entrypoint = (ROOT / "deploy" / "docker" / "entrypoint").read_text()
    roles = set(re.findall(r"^ {4}([a-z-]+)\)", entrypoint, re.MULTILINE))
    started = {unit.name: only(unit, "ExecStart").split("/start ")[1].split() for unit in UNITS}

    assert {arguments[0] for arguments in started.values()} == roles - NO_UNIT
    assert started == {
        f"doorbell-{arguments[0]}{'@' if arguments[1:] else ''}.service": arguments
        for arguments in started.values()
    }


def test_start_knows_the_role_of_every_unit() -> None:
    """The program that units call has a case for each of them."""
    script = (SYSTEMD / "start").read_text()
    roles = set(re.findall(r"^ {4}([a-z-]+)\)", script, re.MULTILINE))

    assert roles == {unit.stem.removeprefix("doorbell-").rstrip("@") for unit in UNITS} | {
        "doorbell"
    }


def test_systemd_kills_later_than_a_process_ends_itself() -> None:
    """A worker has its pool's whole grace, the gateway its own, and a margin to close what is open."""
    grace = max(pool.grace_seconds for pool in TOPOLOGY.pools.values())

    assert int(only(SYSTEMD / "doorbell-worker@.service", "TimeoutStopSec")) >= grace + 10
    assert int(only(SYSTEMD / "doorbell-gateway.service", "TimeoutStopSec")) >= (
        _SHUTDOWN_SECONDS + 5
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_never_gives_up_and_has_limits(unit: Path) -> None:
    """Restarted for ever, stopped by its main process, with a bound on memory and tasks."""
    assert only(unit, "Restart") == "always"
    assert only(unit, "StartLimitIntervalSec") == "0"
    assert only(unit, "KillMode") == "mixed"
    assert only(unit, "MemoryMax")
    assert only(unit, "TasksMax")


def test_every_variable_is_a_setting() -> None:
    """A variable that the settings do not know would keep every process from starting."""
    files = [SYSTEMD / "start", *UNITS, *TEMPLATES.glob("*.env.j2")]
    given = {name for file in files for name in re.findall(r"\bDOORBELL_[A-Z_]+", file.read_text())}

    assert {name for name in given if is_unknown(name)} == set()
    assert len(given) > 10


@pytest.mark.parametrize("arguments", [[], ["workre"], ["worker "]])
def test_an_unknown_role_fails_loudly(host: Path, arguments: list[str]) -> None:
    """A misspelled role is named, and so are those there are."""
    program = host / "opt/doorbell/current/app/deploy/systemd/start"
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    assert ended.returncode == 64
    assert f"'{''.join(arguments)}' is no role" in ended.stderr
    assert "gateway" in ended.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_confined(host: Path, unit: Path) -> None:
    """systemd itself rates its exposure under 3.0 of 10."""
    name = unit.name.replace("@", "@device_checks")
    rated = analyze("security", f"--root={host}", "--offline=true", "--threshold=30", name)

    assert rated.returncode == 0, rated.stdout + rated.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_a_unit(host: Path, unit: Path) -> None:
    """No directive is misspelled or in the wrong section, in the unit or in what is added to it."""
    name = unit.name.replace("@", "@device_checks")
    verified = analyze("verify", f"--root={host}", "--man=no", name)
    complaints = [line for line in verified.stderr.splitlines() if "doorbell" in line]

    assert complaints == []


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            raise AssertionError("systemd-analyze is missing: apt-get install systemd")
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def only(unit: Path, directive: str) -> str:
    """The one value that a unit has for a directive."""
    [value] = re.findall(rf"^{directive}=(.*)$", unit.read_text(), re.MULTILINE)
    return str(value)


def is_unknown(variable: str) -> bool:
    try:
        load_settings({variable: ""})
    except ConfigurationError as error:
        return f"{variable} is not a setting" in str(error)
    return False
