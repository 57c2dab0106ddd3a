"""The pool that stores logins and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.model import DeviceCheck, Verdict
from services.domain.outcome import Outcome, Wire
from services.handlers.apply_verdict import apply_verdicts
from services.handlers.apply_verdict import record_unscored as record_unscored_logins
from services.handlers.ports import Transaction
from services.handlers.save_event import save_events
from services.pools.wiring import Wiring
from services.runner.task import Steps


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""

    @steps.batch("db_writes.save_event")
    def save_event(checks: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Store the login with the check's result."""
        found = [DeviceCheck.from_message(check) for check in checks]
        return save_events(found, tx, wiring.networks)

    @steps.batch("db_writes.apply_verdict")
    def apply_verdict(verdicts: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Store the verdict and act on it."""
        return apply_verdicts([Verdict.from_message(verdict) for verdict in verdicts], tx)

    @steps.batch("db_writes.record_unscored")
    def record_unscored(calls: Sequence[tuple[str, str]], tx: Transaction) -> Sequence[Outcome]:
        """Error callback of `score_login`: the login stays without a score, nobody is locked."""
        return record_unscored_logins([UUID(workflow_id) for _, workflow_id in calls], tx)
