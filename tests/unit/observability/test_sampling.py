"""Monitors hear of every step while there are few, of whole workflows while there are many, and of all bad news."""

from __future__ import annotations

from uuid import UUID

from services.ledger.labels import label_of, unshown
from services.observability.sampling import (
    MOST_PER_SECOND,
    MOST_WORKFLOWS_PER_SECOND,
    Budget,
    Sampling,
)

FEW = int(MOST_PER_SECOND)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def received(number: int, root: int) -> dict[str, object]:
    return {"uuid": f"step-{number}", "root_id": str(UUID(int=root)), "name": "device_checks.check"}


def heard(sampling: Sampling, steps: int, per_workflow: int = 1) -> set[int]:
    """Which of some workflows a process has told of, whose steps all came within a second."""
    return {
        number // per_workflow
        for number in range(steps)
        if sampling.choose("task-received", received(number, number // per_workflow))
    }


def test_a_workflow_is_shown_as_its_label_says() -> None:
    """However few or many steps there are; of one that is not, what goes wrong is."""
    label = label_of(UUID(int=7), "0123456789abcdef")
    sampling = Sampling(Clock())
    heard(sampling, 1000)
    for number in range(2000, 3000):
        told = received(number, 7) | {"kwargs": label}
        assert sampling.choose("task-received", told) == [("task-received", told)]
    quiet = received(1, 7) | {"kwargs": unshown(label)}
    idle, failed = Sampling(Clock()), {"uuid": quiet["uuid"], "exception": "Refused"}
    assert idle.choose("task-received", quiet) == []
    assert [kind for kind, _ in idle.choose("task-failed", failed)] == [
        "task-received",
        "task-failed",
    ]


def test_what_was_told_to_be_tried_again_is_told_to_its_end() -> None:
    """Else it would look as if it was still being tried."""
    label = unshown(label_of(UUID(int=7), "0123456789abcdef"))
    sampling = Sampling(Clock())
    first = received(1, 7) | {"kwargs": label, "retries": 0}
    again = first | {"retries": 1}
    ended = {"uuid": first["uuid"]}
    assert sampling.choose("task-received", first) == []
    assert [kind for kind, _ in sampling.choose("task-retried", ended)] == [
        "task-received",
        "task-retried",
    ]
    assert heard(sampling, 1000)
    by_hand = again | {"kwargs": "{}", "uuid": "by-hand"}
    assert sampling.choose("task-received", by_hand) == [("task-received", by_hand)]
    for kind, fields in (
        ("task-received", again),
        ("task-started", ended),
        ("task-succeeded", ended),
    ):
        assert sampling.choose(kind, fields) == [(kind, fields)]


def test_a_budget_lets_through_so_many_a_second() -> None:
    """After a rest as many at once, and never more."""
    clock = Clock()
    budget = Budget(clock)
    most = int(MOST_WORKFLOWS_PER_SECOND)
    assert [budget.take() for _ in range(most + 5)] == [True] * most + [False] * 5
    clock.now += 1 / MOST_WORKFLOWS_PER_SECOND
    assert [budget.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert sum(budget.take() for _ in range(100)) == most


def test_few_are_all_told_of() -> None:
    clock = Clock()
    sampling = Sampling(clock)
    for _ in range(5):
        assert len(heard(sampling, FEW)) == FEW
        clock.now += 1


def test_of_many_a_share_is() -> None:
    """From the second in which they come on; and again all, once there are few."""
    clock = Clock()
    sampling = Sampling(clock)
    assert FEW <= len(heard(sampling, 1000)) < 5 * FEW
    clock.now += 1
    assert FEW / 2 < len(heard(sampling, 1000)) < FEW * 2
    clock.now += 2
    assert len(heard(sampling, FEW)) == FEW


def test_processes_tell_of_the_same_workflows() -> None:
    """A process with more to do tells of some of those that another one tells of."""
    clock = Clock()
    busy, busier = Sampling(clock), Sampling(clock)
    for sampling, steps in ((busy, 500), (busier, 1000)):
        heard(sampling, steps)
    clock.now += 1
    of_busy, of_busier = heard(busy, 500), heard(busier, 1000, per_workflow=2)
    assert of_busier
    assert of_busier <= of_busy


def test_a_step_is_told_of_as_a_whole_or_not_at_all() -> None:
    sampling = Sampling(Clock())
    chosen = heard(sampling, 1000)
    for number in range(1000):
        for kind in ("task-started", "task-succeeded"):
            event = {"uuid": f"step-{number}"}
            told = sampling.choose(kind, event)
            assert told == ([(kind, event)] if number in chosen else [])
    assert not sampling._kept


def test_what_goes_wrong_is_told_of_with_its_beginning() -> None:
    clock = Clock()
    sampling = Sampling(clock)
    quiet = next(iter(set(range(1000)) - heard(sampling, 1000)))
    step = {"uuid": f"step-{quiet}"}
    sampling.choose("task-started", step)
    clock.now += 5
    beginning = received(quiet, quiet) | {"timestamp": 1000.0}
    failed = step | {"exception": "Refused"}
    told = sampling.choose("task-failed", failed)
    assert told == [("task-received", beginning), ("task-failed", failed)]
    assert sampling.choose("task-retried", step) == [("task-retried", step)]


def test_what_is_delivered_again_is_chosen_anew() -> None:
    """A step that nobody heard of at first, and that comes again when there are few."""
    clock = Clock()
    sampling = Sampling(clock)
    quiet = next(iter(set(range(1000)) - heard(sampling, 1000)))
    clock.now += 2
    again, ended = received(quiet, quiet), {"uuid": f"step-{quiet}"}
    assert sampling.choose("task-received", again) == [("task-received", again)]
    assert sampling.choose("task-succeeded", ended) == [("task-succeeded", ended)]


def test_what_never_ends_is_forgotten() -> None:
    """Parked steps are received and never end here."""
    sampling = Sampling(Clock())
    for number in range(30_000):
        sampling.choose("task-received", received(number, number))
    assert len(sampling._kept) <= 20_000


def test_other_events_pass() -> None:
    sampling = Sampling(Clock())
    assert sampling.choose("worker-heartbeat", {"freq": 2}) == [("worker-heartbeat", {"freq": 2})]
