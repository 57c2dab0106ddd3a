"""What a worker process counts."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import REGISTRY, generate_latest

from services.ledger.reconciler import Repaired
from services.observability.metrics import StepMetrics, count_repairs


def repairs() -> dict[str, float]:
    return {
        outcome: REGISTRY.get_sample_value("doorbell_repairs_total", {"outcome": outcome}) or 0.0
        for outcome in asdict(Repaired())
    }


def test_every_kind_of_repair_is_there_before_the_first() -> None:
    """A rate over a series that begins at its first repair would not see that one."""
    shown = {
        sample.labels["outcome"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "doorbell_repairs_total"
    }
    assert shown == asdict(Repaired()).keys()


def test_a_sweep_is_counted_by_what_it_repaired() -> None:
    """Each number under its own word."""
    before = repairs()
    count_repairs(asdict(Repaired(republished=3, ended=1)))
    assert repairs() == before | {
        "republished": before["republished"] + 3,
        "ended": before["ended"] + 1,
    }


def test_a_process_that_has_done_nothing_yet_shows_its_pool() -> None:
    """Nobody can tell a panel without data from a process that is not there."""
    StepMetrics("idle_pool", ())
    page = generate_latest().decode()
    for name in ("list_steps", "transaction_seconds", "publish_seconds"):
        assert f'doorbell_{name}_count{{pool="idle_pool"}} 0.0' in page
    assert 'doorbell_steps_in_flight{pool="idle_pool"} 0.0' in page
