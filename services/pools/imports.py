"""The pool that takes logins of before in, apart from those of now."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.outcome import Outcome
from services.handlers.import_logins import SliceOf, apply_slices
from services.handlers.import_logins import sum_up as sum_up_imports
from services.handlers.ports import Transaction
from services.pools.wiring import Wiring
from services.runner.task import Steps


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""

    @steps.batch("imports.apply_slice")
    def apply_slice(slices: Sequence[SliceOf], tx: Transaction) -> Sequence[Outcome]:
        """Item of a starmap: store the next logins of some users, and remember their devices."""
        return apply_slices(slices, tx, wiring.networks)

    @steps.batch("imports.sum_up")
    def sum_up(import_ids: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
        """Body of the chord over all partitions: what became of the logins."""
        return sum_up_imports(import_ids, tx)
