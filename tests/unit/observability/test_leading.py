"""What Prometheus sees of the ledger, fresh, stale, or not at all."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from services.ledger.figures import Figures
from services.observability.leading import STALE_SECONDS, LedgerFigures

FIGURES = Figures(
    open_workflows=12,
    oldest_workflow_seconds=7.5,
    late_logins=2,
    late_notices=3,
    oldest_waiting_seconds={"db_writes": 0.0, "notifications": 4.0},
    lost_steps=1,
    open_breakers=1,
    is_standby_missing=True,
)
SHOWN = {
    "doorbell_open_workflows 12.0",
    "doorbell_oldest_workflow_seconds 7.5",
    "doorbell_late_logins 2.0",
    "doorbell_late_notices 3.0",
    'doorbell_oldest_waiting_seconds{queue="db_writes"} 0.0',
    'doorbell_oldest_waiting_seconds{queue="notifications"} 4.0',
    "doorbell_lost_steps 1.0",
    "doorbell_open_breakers 1.0",
    "doorbell_standby_missing 1.0",
}


class Ledger:
    """Gives the figures, or fails; and a clock that the test turns."""

    def __init__(self) -> None:
        self.is_away = False
        self.now = 100.0

    def measure(self) -> Figures:
        if self.is_away:
            raise OSError("away")
        return FIGURES


def shown(figures: LedgerFigures) -> set[str]:
    registry = CollectorRegistry()
    registry.register(figures)
    lines = generate_latest(registry).decode().splitlines()
    return {line for line in lines if not line.startswith("#")}


def looks(done: int, failed: int) -> set[str]:
    name = "doorbell_ledger_measurements_total"
    return {f'{name}{{outcome="done"}} {done}.0', f'{name}{{outcome="failed"}} {failed}.0'}


def test_before_the_first_look_there_are_no_figures() -> None:
    """Zeros would say that all is well."""
    assert shown(LedgerFigures(Ledger().measure)) == looks(0, 0)


def test_the_last_figures_are_shown() -> None:
    """One sample each, and one for each queue."""
    figures = LedgerFigures(Ledger().measure)
    figures.look()
    assert shown(figures) == looks(1, 0) | SHOWN


def test_figures_of_a_ledger_that_cannot_be_asked_grow_old() -> None:
    """They stay for a while, since one failed look is nothing, and then they are gone."""
    ledger = Ledger()
    figures = LedgerFigures(ledger.measure, lambda: ledger.now)
    figures.look()
    ledger.is_away = True
    figures.look()
    assert shown(figures) == looks(1, 1) | SHOWN
    ledger.now += STALE_SECONDS
    assert shown(figures) == looks(1, 1)
