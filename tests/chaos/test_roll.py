"""Two versions at work at once: the new one is rolled out under load, and rolled back on the new schema."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random

import pytest

from services.cli.migrations import migrate, pending
from tests.chaos.execution import Watch
from tests.chaos.hearing import LOCKS
from tests.chaos.load import Load, Mixture, make_reports
from tests.chaos.oracle import judge
from tests.chaos.rig import POOLS, Plan, Rig, running_rig
from tests.chaos.scenario import Run
from tests.support.cluster import KEY
from tests.support.fleet import ROOT, wait_until
from tests.support.postgres import PrivatePostgres

_PREVIOUS = "c711e3364194c795f39488b5f869c5602bcf1167"
"""What is rolled from: a version that knows no migration behind 0010, and devices by the same traits as this one."""

_LOGINS = 400
_RATE = 10.0
_END_SECONDS = 150.0
_PRODUCERS = ("beat", "gateway")


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A checkout of the version before."""
    done = subprocess.run(["git", "archive", _PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this clone's history is cut off before {_PREVIOUS}: git fetch --unshallow")
    target = tmp_path / "previous"
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target


@pytest.fixture
def old_rig(previous: Path, tmp_path: Path) -> Iterator[Rig]:
    """A rig of the version before, code and schema."""
    directory = tmp_path / "rig"
    directory.mkdir()
    migrations = previous / "deploy" / "postgres" / "migrations"
    with (
        PrivatePostgres(migrations=migrations) as postgres,
        running_rig(directory, Plan(code=previous), postgres=postgres) as rig,
    ):
        yield rig


@pytest.mark.timeout(400)
def test_a_roll_forward_and_back_under_load(old_rig: Rig, previous: Path, seed: int) -> None:
    """Each version runs what the other has sent and planned; old workers live on the new schema."""
    reports = make_reports(_LOGINS, seed, Mixture())
    watch = Watch(old_rig)
    load = Load(old_rig.gateway_url, KEY, reports, _RATE, seed=seed)
    run = Run(old_rig, Random(seed), load)
    load.start()
    try:
        run.until_sent(0.1)
        assert migrate(old_rig.database_url), "the version before knows every migration"
        assert not pending(old_rig.database_url)
        # The version before locks whoever is denied.
        old_rig.execute("set_policy", policy=LOCKS)
        run.until_sent(0.25)
        _start_new_pools(run)
        _roll_consumers(run, ROOT, 0, 0.3)
        _roll_consumers(run, ROOT, 1, 0.45)
        _roll_producers(run, ROOT)
        assert _versions(old_rig) == {ROOT}
        run.until_sent(0.6)
        _roll_producers(run, previous)
        _roll_consumers(run, previous, 0, 0.65)
        _roll_consumers(run, previous, 1, 0.8)
        assert _versions(old_rig) == {previous}
    except BaseException:
        load.abort()
        raise
    load.wait()
    found = judge(watch.evidence(reports), _END_SECONDS)
    assert found.is_well, found.explain()


def _start_new_pools(run: Run) -> None:
    """Those that the version before does not have; on the way back they stay until their queues are empty."""
    supervisor = run.supervisor
    for pool in set(POOLS) - set(run.rig.pools):
        program = replace(supervisor.program("maintenance"), user=pool, code=ROOT)
        supervisor.add(pool, replace(program, arguments=(pool, "--process", "1")))


def _roll_consumers(run: Run, code: Path, wave: int, share: float) -> None:
    """Once so much was sent, one process of each pool: as a deploy does it, before the producers."""
    run.until_sent(share)
    _restart(run, code, [run.supervisor.of_pool(pool)[wave] for pool in run.rig.pools])


def _roll_producers(run: Run, code: Path) -> None:
    """On the way back these go first: old consumers know nothing of what a new beat sends."""
    _restart(run, code, [name for part in _PRODUCERS for name in run.supervisor.of_pool(part)])


def _restart(run: Run, code: Path, names: Sequence[str]) -> None:
    supervisor = run.supervisor
    for name in names:
        supervisor.add(name, replace(supervisor.program(name), code=code))
        supervisor.stop(name)
        wait_until(partial(_is_back, run.rig, name), 60, f"{name} does not come back")
    run.rig.wait_until_up()


def _is_back(rig: Rig, name: str) -> bool:
    return rig.supervisor.pid(name) is not None


def _versions(rig: Rig) -> set[Path]:
    """The checkouts from which the running processes of the product were started."""
    parts = (*rig.pools, *_PRODUCERS)
    pids = [rig.supervisor.pid(name) for part in parts for name in rig.supervisor.of_pool(part)]
    return {Path(f"/proc/{pid}/cwd").resolve() for pid in pids if pid is not None}
