"""What a scenario is: a named way to disturb a rig while logins are reported, and what it may expect."""

from __future__ import annotations

import importlib
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.load import Load, Mixture
from tests.chaos.rig import POOLS, Plan, Rig
from tests.chaos.supervisor import Supervisor

_POLL_SECONDS = 0.02


@dataclass(slots=True)
class Run:
    """One run of a scenario: the rig to disturb, the scenario's dice, and how far the load is.

    kept: what a scenario's `check` is to compare with.
    """

    rig: Rig
    dice: random.Random
    load: Load
    kept: dict[str, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def supervisor(self) -> Supervisor:
        return self.rig.supervisor

    def until_sent(self, share: float) -> None:
        """Wait until so much of the load (0 to 1) has been sent."""
        while self.load.share_sent < share:
            self._over.wait(_POLL_SECONDS)

    def pause(self, seconds: float) -> None:
        """Let a fault last."""
        self._over.wait(seconds)

    def while_sending(self, every: float, until: float = 0.9) -> Iterable[int]:
        """Count up, every so many seconds, until so much of the load has been sent; once at least."""
        began, count = time.monotonic(), 0
        while not count or self.load.share_sent < until:
            yield count
            count += 1
            self.pause(max(0.0, began + count * every - time.monotonic()))

    def back(self, whom: str) -> None:
        """Note that a part is there again: from now on recovery is measured.

        whom: `rabbitmq` or `postgres` to have the issue's limits asserted.
        """
        self.supervisor.note("back", whom)

    def any_worker(self) -> str:
        """The name of a random worker process."""
        workers = [name for pool in POOLS for name in self.supervisor.of_pool(pool)]
        return self.dice.choice(workers)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A way to disturb the system while logins come in.

    disturb: called once while the load runs; when it returns, every fault is over.
    rate: logins a second. mixture: what the logins are like.
    may_hold_off: the gateway may answer 503, for the database is away for a while.
    api_may_fail: the outlier API is away for a while: logins may end unscored.
    answers_within: seconds in which the gateway has to accept each login all along.
    plan: a rig of its own, started and removed for it.
    check: what else must hold afterwards; returns problems.
    """

    name: str
    disturb: Callable[[Run], None]
    rate: float = 25.0
    mixture: Mixture = field(default_factory=Mixture)
    may_hold_off: bool = False
    api_may_fail: bool = False
    answers_within: float | None = None
    plan: Plan | None = None
    check: Callable[[Run], list[str]] | None = None


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    rate: float = 25.0,
    mixture: Mixture | None = None,
    may_hold_off: bool = False,
    api_may_fail: bool = False,
    answers_within: float | None = None,
    plan: Plan | None = None,
    check: Callable[[Run], list[str]] | None = None,
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Add the function below to the scenarios; its arguments are Scenario's fields."""

    def add(disturb: Callable[[Run], None]) -> Callable[[Run], None]:
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        SCENARIOS[name] = Scenario(
            name,
            disturb,
            rate,
            mixture or Mixture(),
            may_hold_off,
            api_may_fail,
            answers_within,
            plan,
            check,
        )
        return disturb

    return add


def load_scenarios() -> dict[str, Scenario]:
    """All scenarios: those of every module scenarios_*.py beside this one."""
    for path in sorted(Path(__file__).parent.glob("scenarios_*.py")):
        importlib.import_module(f"{__package__}.{path.stem}")
    return SCENARIOS
