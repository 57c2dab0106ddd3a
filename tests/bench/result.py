"""What a benchmark measured, as values; units are seconds unless said otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from tests.bench.cpu import Consumption
from tests.bench.traffic import Traffic

DOORBELL = "Doorbell"


@dataclass(frozen=True, slots=True)
class Throughput:
    """One run of many logins.

    stored: verdicts that were stored within the deadline. seconds: from the first login sent
    to the last of these verdicts, by one clock. traffic: of the broker meanwhile.
    """

    sent: int
    stored: int
    seconds: float
    cpu: Consumption
    traffic: Traffic | None = None

    @property
    def is_complete(self) -> bool:
        return self.stored == self.sent

    @property
    def logins_per_second(self) -> float:
        return self.stored / self.seconds if self.seconds else 0.0

    @property
    def cpu_milliseconds(self) -> float:
        """CPU milliseconds a login, of all processes."""
        return 1000 * self.cpu.total / max(1, self.stored)

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


@dataclass(frozen=True, slots=True)
class Steady:
    """Logins that come in evenly, whether earlier ones have ended or not.

    rate: logins a second. verdicts, notices: from accepted to verdict stored and to mail handed
    over, by the database's clock; a login without a verdict at the end is in neither.
    """

    percent_of_peak: int
    rate: float
    sent: int
    verdicts: Sequence[float]
    notices: Sequence[float]
    cpu: Consumption


@dataclass(slots=True)
class Side:
    """One of those that do the same work; `runs` has one for each round."""

    name: str
    says: str
    """What it is, in a line."""
    runs: list[Throughput] = field(default_factory=list)

    @property
    def logins_per_second(self) -> float | None:
        """The median of its rounds; None without any."""
        return median([run.logins_per_second for run in self.runs]) if self.runs else None

    @property
    def cpu_milliseconds(self) -> float | None:
        """A login's, of all processes: the median of its rounds; None without any."""
        return median([run.cpu_milliseconds for run in self.runs]) if self.runs else None


@dataclass(slots=True)
class Result:
    """Everything of one `make bench`; Doorbell is the first side."""

    cores: int
    load_at_start: float
    sides: list[Side]
    latency: Latency | None = None
    steady: list[Steady] = field(default_factory=list)

    def ratio(self, other: Side) -> float | None:
        """Doorbell's logins per second over another side's: the median of the rounds' ratios.

        The two of a round are measured within a minute or two of each other, while a machine's speed
        may change from round to round. None without a round that both have.
        """
        pairs = zip(self.sides[0].runs, other.runs, strict=False)
        ratios = [
            ours.logins_per_second / theirs.logins_per_second
            for ours, theirs in pairs
            if theirs.logins_per_second
        ]
        return median(ratios) if ratios else None

    @property
    def is_complete(self) -> bool:
        return all(run.is_complete for side in self.sides for run in side.runs) and (
            self.latency is None or len(self.latency.client) == self.latency.asked
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is at least as large as `percent` of all (nearest rank)."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    return statistics.median(values)
