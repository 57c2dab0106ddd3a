"""The image: what it holds, what it does not, and that it can be built again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.compose.stack import IMAGE, Stack

pytestmark = pytest.mark.timeout(600)

SBOM = "/usr/share/doc/doorbell/sbom.json"
TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "g++", "make", "ld", "git", "curl", "wget")
LARGEST_MEGABYTES = 200
"""What it may add to the base image."""

_LIST_MODULES = """
import importlib.util
print([name for name in ("pip", "setuptools", "wheel", "ensurepip") if importlib.util.find_spec(name)])
"""


def test_nothing_in_it_builds_or_installs(stack: Stack) -> None:
    """Neither the environment nor the base's own Python can install anything."""
    found = run(stack, "sh", "-c", f"command -v {' '.join(TOOLS)} || true")
    modules = [
        run(stack, python, "-c", _LIST_MODULES)
        for python in ("python", run(stack, "readlink", "-f", "/opt/doorbell/bin/python"))
    ]

    assert found == ""
    assert modules == ["[]", "[]"]


def test_it_says_what_it_is_made_of(stack: Stack) -> None:
    """The SBOM names each package with the version that is installed, and no other."""
    sbom: dict[str, Any] = json.loads(run(stack, "cat", SBOM))
    installed = json.loads(
        run(
            stack,
            "python",
            "-c",
            "import json, importlib.metadata as m;"
            " print(json.dumps({d.name: d.version for d in m.distributions(path=['/opt/doorbell/lib/python'"
            " + '.'.join(__import__('platform').python_version_tuple()[:2]) + '/site-packages'])}))",
        )
    )

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "doorbell"
    assert {c["name"]: c["version"] for c in sbom["components"]} == {
        name: version for name, version in installed.items() if name != "doorbell"
    }


def test_its_labels_are_the_builds_arguments(stack: Stack) -> None:
    """Whoever finds it running learns its version, its commit and its date."""
    [image] = json.loads(stack.docker("image", "inspect", IMAGE))
    labels = image["Config"]["Labels"]

    named = {key.removeprefix("org.opencontainers.image."): labels[key] for key in labels}
    assert {"title", "description", "version", "revision", "created"} <= named.keys()
    assert named["version"] == "0.1.0"


def test_it_is_small(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the base and the locked packages, and little else."""
    [image], [base] = (
        json.loads(stack.docker("image", "inspect", name))
        for name in (IMAGE, os.environ.get("PYTHON_IMAGE", "python:3.11.13-slim-bookworm"))
    )
    megabytes = image["Size"] / 1e6, base["Size"] / 1e6
    with capsys.disabled():
        print(f" the image: {megabytes[0]:.0f} MB, of which its base {megabytes[1]:.0f}", end=" ")

    assert megabytes[0] - megabytes[1] < LARGEST_MEGABYTES


def test_the_same_sources_give_the_same_image(stack: Stack) -> None:
    """Built again from nothing, every file is the same: content, owner, rights and time."""
    again = replace(stack, environment={"FLEET_IMAGE": f"{IMAGE}-again"})
    again.compose("build", "--no-cache", "definitions", seconds=480)

    first, second = files_of(stack, IMAGE), files_of(stack, f"{IMAGE}-again")

    assert {
        path for path in first.keys() | second.keys() if first.get(path) != second.get(path)
    } == set()


def files_of(stack: Stack, image: str) -> dict[str, tuple[object, ...]]:
    """What is in an image's file system, without what the engine puts into each container."""
    container = stack.docker("create", image, "nothing").strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            with tarfile.open(fileobj=export.stdout, mode="r|") as archive:
                return dict(_described(archive))
    finally:
        stack.docker("rm", container)


def _described(archive: tarfile.TarFile) -> Iterator[tuple[str, tuple[object, ...]]]:
    of_the_engine = {".dockerenv", "dev", "etc", "proc", "sys"}
    for member in archive:
        if member.name in of_the_engine or member.name.startswith(("dev/", "proc/", "sys/")):
            continue
        if member.name in {"etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}:
            continue
        file = archive.extractfile(member) if member.isreg() else None
        content = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
        rights = member.type, member.mode, member.uid, member.gid
        yield member.name, (*rights, member.mtime, content)


def run(stack: Stack, *command: str) -> str:
    """What a command prints in a container of the image."""
    entry, *arguments = command
    options = ("--rm", "--network", "none", "--entrypoint", entry)
    return stack.docker("run", *options, IMAGE, *arguments).strip()
