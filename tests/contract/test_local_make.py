"""The Makefile, the scripts it calls and the locked requirements agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.cli.doctor import PINNED

REPOSITORY = Path(__file__).resolve().parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_the_promised_targets_are_there() -> None:
    """People and programs rely on these names."""
    assert {"help", "demo", "up", "down", "status", "test", "bench", "lint"} <= set(TARGETS)


def test_help_is_the_default_and_lists_every_target() -> None:
    """`make` alone says what there is, with a sentence each."""
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout

    listed = re.findall(r"^  make (\w+) +\S", shown, re.MULTILINE)
    assert sorted(listed) == sorted(TARGETS)


@pytest.mark.parametrize(
    "script", sorted({*re.findall(r"deploy/local/[a-z]+", MAKEFILE), ".ci/run"})
)
def test_every_script_that_is_called_can_be_executed(script: str) -> None:
    """No target calls something that is not there."""
    assert os.access(REPOSITORY / script, os.X_OK)


@pytest.mark.parametrize(
    ("file", "extras"),
    [("requirements.txt", ["local"]), ("requirements-dev.txt", ["local", "dev"])],
)
def test_the_lock_satisfies_the_project(file: str, extras: list[str]) -> None:
    """Every dependency is locked in a version that pyproject.toml allows: else run `make lock`."""
    locked = dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[\S+\])?==(\S+)", read(file), re.MULTILINE))
    versions = {canonicalize_name(name): version for name, version in locked.items()}
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]

    unsatisfied = [
        text
        for text in wanted
        if not Requirement(text).specifier.contains(
            versions.get(canonicalize_name(Requirement(text).name), "") or "0.missing",
            prereleases=True,
        )
    ]

    assert unsatisfied == []


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_has_hashes_and_names_no_registry(file: str) -> None:
    """Whoever installs chooses the registry; the hashes say what may come from it."""
    text = read(file)
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]

    assert "://" not in text
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_two_locks_agree() -> None:
    """The development environment also runs the cluster, so its versions are the same."""
    pins = [
        dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[\S+\])?==(\S+)", read(file), re.MULTILINE))
        for file in ("requirements.txt", "requirements-dev.txt")
    ]

    assert pins[0].items() <= pins[1].items()


def read(file: str) -> str:
    return (REPOSITORY / file).read_text()


def test_the_doctor_wants_the_packages_that_are_pinned() -> None:
    """Or every doctor would be red after an upgrade by the page."""
    pins = (Requirement(each) for each in PROJECT["dependencies"])
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert {name: pinned[name] for name in PINNED} == PINNED
