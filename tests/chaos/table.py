"""The table of chaos runs, as it is printed and as it is committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.findings import LIMITS, Findings

_NUMBERS = (
    "attempted",
    "accepted",
    "refused",
    "done",
    "failed",
    "dead",
    "lost",
    "doubled",
    "repeated",
    "recovered",
)
_TIMES = tuple(f"{part} s" for part in LIMITS)
_PREFACE = """# The long chaos run

Written by `make chaos`: the processes of one machine under load while they, broker, database, network, disk,
clocks and everything that Doorbell calls are disturbed; `python -m tests.chaos --list` says how. The oracle
judges from outside (tests/chaos).

- *attempted* logins are *accepted* (202) or *refused*; the accepted end *done*, *failed* or *dead*. Failed are
  those whose permanent cause the load carries.
- *lost*: accepted logins that did not end, effects that are missing. *doubled*: effects beyond one, repeats that
  nothing excuses.
- *repeated*: calls outside made again under the same id, each because a disturbance hit it.
- *recovered*: steps that were delivered or published again and are done. *503 first*: answers 503 with
  `Retry-After`, followed by 202 to the same request; they are right only while PostgreSQL is away.
- Seconds: the slowest 202; until work went on after a process died (limit 5), the broker (10) or the database (5)
  was up again; from the last disturbance to the end of the last step; all of the run.

"""

_HEAD = ("scenario", "seed", *_NUMBERS, "503 first", "slowest 202 s", *_TIMES, "quiet s", "all s")


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one scenario. `seconds`: all of it, from a calm rig to the proof."""

    scenario: str
    seed: int
    findings: Findings
    seconds: float

    @property
    def is_well(self) -> bool:
        return self.findings.is_well and not self.findings.too_slow


def head_line() -> str:
    """The columns' names, for the terminal."""
    return _line(_HEAD)


def line(result: Result) -> str:
    """One run, for the terminal; what is wrong with it is marked."""
    return _line(_cells(result)) + ("" if result.is_well else "  <- not well")


def as_markdown(results: Sequence[Result]) -> str:
    """All runs and their sums, with what the columns mean."""
    rows = [_HEAD, ("---",) * len(_HEAD), *(_cells(result) for result in results), _sums(results)]
    return _PREFACE + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cells(result: Result) -> tuple[str, ...]:
    found = result.findings
    return (
        result.scenario,
        str(result.seed),
        *(str(getattr(found, name)) for name in _NUMBERS),
        str(found.held_off),
        f"{found.slowest_answer:.2f}",
        *(f"{found.took[part]:.1f}" if part in found.took else "-" for part in LIMITS),
        f"{found.quiet_seconds:.1f}",
        f"{result.seconds:.0f}",
    )


def _sums(results: Sequence[Result]) -> tuple[str, ...]:
    sums = (str(sum(getattr(r.findings, name) for r in results)) for name in _NUMBERS)
    held_off = str(sum(result.findings.held_off for result in results))
    return ("all", "", *sums, held_off, *[""] * (len(LIMITS) + 3))


def _line(cells: Iterable[str]) -> str:
    first, *rest = cells
    return f"{first:<28}" + " ".join(f"{cell:>9}" for cell in rest)
