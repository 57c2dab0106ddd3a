"""What the outlier API's load test measured, as values; units are seconds unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.cpu import Consumption
from tests.bench.result import percentile

API = "outlier API"


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a series. answers: what each took."""

    answers: Sequence[float]
    cpu: Consumption


@dataclass(slots=True)
class Series:
    """One kind of request from so many clients, each of which asks again when it has its answer.

    Attributes:
        logins: how many one answer judges; none where it only forgets.
        history: logins that the API knew when the series began.
    """

    name: str
    at_once: int
    logins: int
    history: int = 0
    runs: list[Run] = field(default_factory=list)

    @property
    def answers(self) -> list[float]:
        return [seconds for run in self.runs for seconds in run.answers]

    @property
    def answers_per_second(self) -> float:
        return len(self.answers) / sum(run.cpu.seconds for run in self.runs)

    @property
    def others(self) -> float:
        """Cores that processes outside the measurement used meanwhile."""
        return sum(run.cpu.others for run in self.runs) / sum(run.cpu.seconds for run in self.runs)

    def milliseconds(self, percent: float) -> float:
        """The percentile of what its answers took."""
        return 1000 * percentile(self.answers, percent)

    def cpu_milliseconds(self, process: str) -> float | None:
        """What a login costs of one process's CPU time; None where none is judged."""
        judged = self.logins * len(self.answers)
        used = sum(run.cpu.by_process[process] for run in self.runs)
        return 1000 * used / judged if judged else None


def _series(name: str, *sizes: tuple[int, int]) -> list[Series]:
    return [Series(name, at_once, logins) for at_once, logins in sizes]


@dataclass(slots=True)
class Result:
    """Everything of one `make bench-outlier`; a series without runs was not measured.

    Attributes:
        meanwhile: scores while users are forgotten; `forgets` is that forgetting, and its CPU
            time counts with the scores.
        by_history: single scores as the history grows.
        history: logins that the API knew at the end.
        memory: resident bytes of the API at the end.
        storage: bytes of its files at the end.
    """

    cores: int
    load_at_start: float
    singles: list[Series] = field(default_factory=lambda: _series("score", (1, 1), (8, 1), (32, 1)))
    batches: list[Series] = field(default_factory=lambda: _series("score:batch", (1, 10), (1, 100)))
    meanwhile: Series = field(default_factory=lambda: Series("score, users forgotten", 8, 1))
    forgets: Series = field(default_factory=lambda: Series("users:forget", 1, 0))
    by_history: list[Series] = field(default_factory=list)
    history: int = 0
    memory: int = 0
    storage: int = 0

    @property
    def measured(self) -> list[Series]:
        """All series in the table's order."""
        return [
            series
            for series in (*self.singles, *self.batches, self.meanwhile, self.forgets)
            if series.runs
        ]

    @property
    def slower_meanwhile(self) -> Mapping[str, float]:
        """By percentile: what a score takes while users are forgotten, over what it takes otherwise."""
        usual = next(each for each in self.singles if each.at_once == self.meanwhile.at_once)
        return {
            f"p{percent}": self.meanwhile.milliseconds(percent) / usual.milliseconds(percent)
            for percent in (50, 99)
        }
