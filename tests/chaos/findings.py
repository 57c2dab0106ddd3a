"""What the oracle found: the numbers of one run, and a line for everything that must not be."""

from __future__ import annotations

from dataclasses import dataclass, field

LIMITS = {"process": 5.0, "rabbitmq": 10.0, "postgres": 5.0}
"""Seconds in which work must go on, after a process died, the broker is up, the database is up."""


@dataclass(slots=True)
class Findings:
    """The outcome of a run; it is well when there are no problems.

    lost: accepted logins that did not end, and effects that are missing.
    doubled: effects, steps and workflows beyond one, and repeats that nothing excuses.
    repeated: calls outside that a disturbance made happen again, under the same id.
    recovered: steps that were delivered or published again and are done.
    held_off: 503 with Retry-After, followed by success of the same request.
    took: for each part that was away, the longest time until work went on, in seconds.
    quiet_seconds: from the last disturbance to the end of the last step.
    """

    attempted: int = 0
    accepted: int = 0
    refused: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    recovered: int = 0
    held_off: int = 0
    slowest_answer: float = 0.0
    quiet_seconds: float = 0.0
    took: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    suspects: dict[str, None] = field(default_factory=dict)
    dump: str = ""

    def miss(self, problem: str, *workflow_ids: str) -> None:
        """Something accepted, or an effect of it, is not there."""
        self.lost += 1
        self.object(problem, *workflow_ids)

    def double(self, problem: str, *workflow_ids: str) -> None:
        """Something happened more than once."""
        self.doubled += 1
        self.object(problem, *workflow_ids)

    def object(self, problem: str, *workflow_ids: str) -> None:
        """Something else is not as it must be."""
        self.problems.append(problem)
        self.suspects.update(dict.fromkeys(workflow_ids))

    def expect_answers_within(self, seconds: float) -> None:
        """The gateway had to accept logins in this time all along."""
        if self.slowest_answer > seconds:
            self.object(
                f"the gateway took {self.slowest_answer:.1f} s, more than {seconds:g}, for a 202"
            )

    @property
    def is_well(self) -> bool:
        return not self.problems

    @property
    def too_slow(self) -> list[str]:
        """Where work went on later than it must."""
        return [
            f"after {part} was back, work went on only after {seconds:.1f} s"
            for part, seconds in self.took.items()
            if seconds > LIMITS.get(part, float("inf"))
        ]

    def explain(self) -> str:
        """The problems, then the steps of the workflows they are about."""
        return "\n".join([*self.problems[:40], *self.too_slow, self.dump])
