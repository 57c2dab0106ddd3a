"""The pool that looks devices up."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.outcome import Outcome
from services.handlers.check_device import check_reported
from services.handlers.ports import Transaction
from services.pools.wiring import Wiring
from services.runner.task import Steps


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""

    @steps.batch("device_checks.check_device")
    def check_device(workflow_ids: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
        """Is this the user's known device?"""
        return check_reported([UUID(i) for i in workflow_ids], tx, wiring.networks)
