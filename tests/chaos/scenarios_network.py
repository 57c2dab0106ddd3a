"""Scenarios in which some processes lose sight of broker or database, or never learn how a request ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.chaos import detours
from tests.chaos.repeats import SWALLOW
from tests.chaos.rig import POOLS
from tests.chaos.scenario import Run, scenario

_PARTED_SECONDS = 45.0
"""Longer than two heartbeats, and than the 25 s after which the ledger's connections give up."""

_GIVEN_UP_SECONDS = 45.0
"""In which the broker must have noticed, after that."""

_CONFIRMLESS_SECONDS = 15.0
_EVERY = 7
"""So many commits, over all processes, for each one that loses its connection."""


def _broker_gave_them_up(run: Run) -> list[str]:
    return [] if run.kept["gone"] == len(POOLS) else ["the broker still had the parted processes"]


def _they_saw_it_away(run: Run) -> list[str]:
    return [] if run.kept["said"] else ["no parted process noticed that the database was away"]


def _commits_were_cut(run: Run) -> list[str]:
    missing = [side for side in ("before", "after") if not run.kept[side]]
    return [f"no commit was cut {side} the server had it" for side in missing]


def _confirms_were_swallowed(run: Run) -> list[str]:
    return [] if run.kept["swallowed"] else ["no confirm was swallowed"]


@scenario("part-from-broker", rate=5, check=_broker_gave_them_up)
def part_from_broker(run: Run) -> None:
    """A worker of each pool loses the broker for more than two heartbeats, without a reset."""
    _part(run, "broker")


@scenario("part-from-database", rate=5, check=_they_saw_it_away)
def part_from_database(run: Run) -> None:
    """A worker of each pool loses the database for longer than its connections wait."""
    _part(run, "database")


@scenario("part-from-both", rate=5, check=_broker_gave_them_up)
def part_from_both(run: Run) -> None:
    """A worker of each pool loses broker and database."""
    _part(run, "broker", "database")


def _part(run: Run, *services: str) -> None:
    names = detours.one_of_each_pool(run)
    with detours.apart(run, *names) as where:
        before = _said(run, names)
        with detours.parted(run, where, names, *services):
            run.pause(_PARTED_SECONDS)
            if "broker" in services:
                run.kept["gone"] = _wait_until_given_up(run)
            # What they still have goes on now, beside the processes that got it again.
            for name in names:
                run.supervisor.note("rejoin", name)
        run.rig.wait_until_up()
        run.kept["said"] = _said(run, names) - before


def _wait_until_given_up(run: Run) -> int:
    """How many pools the broker knows with one process alone; it looks for heartbeats now and then."""
    deadline = time.monotonic() + _GIVEN_UP_SECONDS
    while True:
        gone = sum(run.rig.consumers(pool) == 1 for pool in POOLS)
        if gone == len(POOLS) or time.monotonic() > deadline:
            return gone
        run.pause(0.5)


def _said(run: Run, names: Sequence[str]) -> int:
    return sum(run.rig.fleet.log(name).count("PostgreSQL is away") for name in names)


@scenario("cut-commits", rate=10, may_hold_off=True, check=_commits_were_cut)
def cut_commits(run: Run) -> None:
    """Every few commits the connection is cut: before the server has the COMMIT, or after it has committed."""
    with detours.through_cutter(run) as cutter:
        cutter.cut_commits(_EVERY, seed=run.dice.randrange(1 << 30))
        run.until_sent(1.0)
        cutter.pass_commits()
        run.kept |= {side: cutter.cuts[side] for side in ("before", "after")}


@scenario("swallow-confirms", rate=8, check=_confirms_were_swallowed)
def swallow_confirms(run: Run) -> None:
    """Messages reach the broker and their confirms reach nobody, at the gateway and in half of the pools."""
    names = ["gateway", *detours.one_of_each_pool(run)]
    with detours.through_swallower(run, *names) as swallower:
        for name in names:
            run.supervisor.note(SWALLOW, name)
        swallower.swallow()
        run.pause(_CONFIRMLESS_SECONDS)
        run.kept["swallowed"] = swallower.swallowed
        swallower.pass_confirms()
        for name in names:
            run.back(name)
        run.rig.wait_until_up()
