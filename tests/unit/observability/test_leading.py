"""What Prometheus sees of the ledger, fresh, stale, or not at all."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from services.ledger.figures import Figures, Held, Slot
from services.observability.leading import STALE_SECONDS, BrokerCertificate, LedgerFigures

FIGURES = Figures(
    open_workflows=12,
    oldest_workflow_seconds=7.5,
    late_logins=2,
    late_notices=3,
    oldest_waiting_seconds={"db_writes": 0.0, "notifications": 4.0},
    lost_steps=1,
    open_breakers=1,
    is_standby_missing=True,
    is_unprotected=True,
    canary_seconds=16.0,
    slots=[Slot("backup", is_fetched=False, kept_bytes=4096.0)],
    open_by_age={10.0: 12, 600.0: 2},
    parked_steps={"notifications.deliver_notice": 5},
    limits={"notifications.deliver_notice": 0.5},
    held=[Held("task", "notifications.deliver_notice", 90.0)],
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
    "doorbell_commits_unprotected 1.0",
    "doorbell_canary_age_seconds 16.0",
    'doorbell_replication_slot_fetched{slot="backup"} 0.0',
    'doorbell_replication_slot_kept_bytes{slot="backup"} 4096.0',
    'doorbell_open_workflows_older{seconds="10"} 12.0',
    'doorbell_open_workflows_older{seconds="600"} 2.0',
    'doorbell_parked_steps{task="notifications.deliver_notice"} 5.0',
    'doorbell_task_limit{task="notifications.deliver_notice"} 0.5',
    'doorbell_held_seconds{kind="task",name="notifications.deliver_notice"} 90.0',
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


def shown(collector: Collector) -> set[str]:
    registry = CollectorRegistry()
    registry.register(collector)
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


def test_the_end_of_the_brokers_certificate_is_shown_once_it_was_seen() -> None:
    """A broker that is away now changes nothing about its certificate."""
    answers = [2.0e9]
    certificate = BrokerCertificate(answers.pop)
    assert shown(certificate) == set()
    # The second time there is no answer.
    for _ in range(2):
        certificate.look()
        assert shown(certificate) == {"doorbell_broker_certificate_end_timestamp_seconds 2e+09"}
