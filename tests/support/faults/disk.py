"""Moves a database onto a small disk of its own, which can then be filled up and freed again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import PrivatePostgres

_CHUNK = bytes(1 << 20)
_FILLER = "filler"


class SmallDisk:
    """The disk that a database's data and write-ahead log are on."""

    def __init__(self, directory: Path) -> None:
        self._filler = directory / _FILLER

    def fill(self) -> int:
        """Leave no byte free; returns how many were."""
        written = 0
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(_CHUNK), 4096):
                while _fits(file.fileno(), size):
                    written += size
        return written

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(postgres: PrivatePostgres, spare_megabytes: int = 256) -> Iterator[SmallDisk]:
    """Have a running server's data during the block on a disk with room for so much more.

    The server is restarted at both ends, and keeps what was written in between. When it
    gave itself up meanwhile, as PostgreSQL does when its log has no room, it is started.
    """
    postgres.stop()
    with _mounted(postgres.data, _megabytes(postgres.data) + spare_megabytes):
        postgres.start()
        disk = SmallDisk(postgres.data)
        try:
            yield disk
        finally:
            disk.free()
            postgres.stop()
    postgres.start()


@contextmanager
def _mounted(directory: Path, megabytes: int) -> Iterator[None]:
    """A file system in the place of `directory`, with all that is in it, and back."""
    aside = directory.with_name(f"{directory.name}-aside")
    directory.rename(aside)
    directory.mkdir()
    try:
        _mount(directory, megabytes)
    except BaseException:
        directory.rmdir()
        aside.rename(directory)
        raise
    try:
        _copy(aside, directory)
        yield
        shutil.rmtree(aside)
        _copy(directory, aside)
    finally:
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()
        aside.rename(directory)


def _mount(directory: Path, megabytes: int) -> None:
    """Mount; skips the test on a laptop where this is not permitted, fails in CI."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "doorbell-test", str(directory)]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return
    reason = f"no small disk can be mounted here: {tried.stderr.strip()}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _megabytes(directory: Path) -> int:
    """What all in it takes, rounded up."""
    command = ["du", "--summarize", "--block-size=1M", directory]
    return int(subprocess.run(command, check=True, capture_output=True).stdout.split()[0])


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)


def _fits(file: int, size: int) -> bool:
    try:
        return os.write(file, _CHUNK[:size]) == size
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


@contextmanager
def full(disk: SmallDisk, postgres: PrivatePostgres) -> Iterator[None]:
    """During the block the disk is full; afterwards a server that gave itself up is started again."""
    disk.fill()
    try:
        yield
    finally:
        disk.free()
        if not postgres.is_running:
            postgres.start()
