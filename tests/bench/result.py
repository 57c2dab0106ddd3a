"""What a benchmark measured, as values; units are seconds unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from tests.bench.cpu import Consumption


@dataclass(frozen=True, slots=True)
class Throughput:
    """One run of many logins.

    stored: verdicts that were stored within the deadline. seconds: from the first login sent
    to the last of these verdicts, by one clock.
    """

    sent: int
    stored: int
    seconds: float
    cpu: Consumption

    @property
    def is_complete(self) -> bool:
        return self.stored == self.sent

    @property
    def logins_per_second(self) -> float:
        return self.stored / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_login(self) -> Mapping[str, float]:
        """CPU milliseconds a login by process."""
        return {
            name: 1000 * seconds / max(1, self.stored)
            for name, seconds in self.cpu.by_process.items()
        }


@dataclass(frozen=True, slots=True)
class Latency:
    """Single logins on an idle cluster, one after another.

    database: accepted to verdict stored, both by the database's clock. client: from before the
    POST until the stored verdict can be read from outside.
    """

    asked: int
    database: Sequence[float]
    client: Sequence[float]
    cpu: Consumption


@dataclass(slots=True)
class Result:
    """Everything of one `make bench`; `doorbell` and `plain` have a run for each round."""

    cores: int
    load_at_start: float
    doorbell_workers: int
    plain_workers: int
    latency: Latency | None = None
    doorbell: list[Throughput] = field(default_factory=list)
    plain: list[Throughput] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Doorbell's median logins per second over the plain workflow's."""
        if not self.doorbell or not self.plain:
            return None
        other = median([run.logins_per_second for run in self.plain])
        return median([run.logins_per_second for run in self.doorbell]) / other if other else None

    @property
    def is_complete(self) -> bool:
        runs = [*self.doorbell, *self.plain]
        return all(run.is_complete for run in runs) and (
            self.latency is None or len(self.latency.client) == self.latency.asked
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is at least as large as `percent` of all (nearest rank)."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The lower middle value."""
    return percentile(values, 50)
