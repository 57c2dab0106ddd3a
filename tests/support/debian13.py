"""Debian 13's RabbitMQ 4 on another Debian: a root of its own, made once, that nodes of tests run in by chroot.

`python -m tests.support.debian13 ARGUMENTS...` runs pytest with these arguments on such nodes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VARIABLE = "DOORBELL_TEST_RABBITMQ_ROOT"
"""Names the root; where it is not set, nodes are this machine's own."""

_RELEASE = "trixie"
_PACKAGE = "rabbitmq-server"
_MIRROR_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
# Mounts of a namespace of its own: they are gone with the last process in it.
_ENTER = (
    'root=$1 directory=$2; shift 2; mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev";'
    ' mount -t tmpfs tmpfs "$root/tmp"; mkdir -p "$root$directory";'
    ' mount --bind "$directory" "$root$directory"; exec chroot "$root" "$@"'
)


class SetupError(Exception):
    """The root cannot be made here; the message says what to do."""


def root_in_use() -> Path | None:
    """The root that this run's nodes start from; None for this machine's own RabbitMQ."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def entered(root: Path, directory: Path) -> list[str]:
    """What to put before a command so that it runs inside `root`, with `directory` at its own path.

    The process keeps its id, its group, its environment and the machine's network.
    """
    return ["unshare", "--mount", "sh", "-ec", _ENTER, "enter", str(root), str(directory)]


def cached_root() -> Path:
    """Where the root is kept: the user's cache, since it outlives the repository's own data."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "doorbell" / f"{_RELEASE}-{_PACKAGE}"


def make_root(root: Path) -> None:
    """Make the root unless it is there; takes about a minute.

    Raises:
        SetupError: not root, or apt knows no mirror.
        subprocess.CalledProcessError: debootstrap or apt-get failed; its output says why.
    """
    if root.exists():
        return
    if os.getuid() != 0:
        raise SetupError("only root can make and enter another Debian's root: call this as root")
    mirror = _mirror()
    if shutil.which("debootstrap") is None:
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap")
    print(f"Making {root} from Debian's packages")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="making-") as parent:
        making = Path(parent) / "root"
        _run("debootstrap", "--variant=minbase", _RELEASE, str(making), mirror)
        policy = making / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        shutil.copy("/etc/resolv.conf", making / "etc/resolv.conf")
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends"
        inside = entered(making, Path(parent))
        _run(*inside, "sh", "-c", f"DEBIAN_FRONTEND=noninteractive; {install} {_PACKAGE}")
        making.rename(root)


def _mirror() -> str:
    """The mirror that this machine's own apt takes Debian's main packages from."""
    release = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", _MIRROR_FORMAT, "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for target in targets.splitlines():
        uri, _, where = target.partition(" ")
        if where == f"{release} main":
            return uri
    raise SetupError(f"apt has no mirror for {release} main: run apt-get update")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> int:
    """Run pytest on nodes of Debian 13; returns its exit status, or 2 when there can be none."""
    root = cached_root()
    try:
        make_root(root)
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f"debian13: {error}", file=sys.stderr)
        return 2
    environment = os.environ | {VARIABLE: str(root)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *sys.argv[1:]], check=False, env=environment
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
