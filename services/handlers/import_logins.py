"""Takes logins of before in: devices become known, and the outlier API learns; nobody is told, nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.errors import Unavailable
from services.domain.outcome import Done, Failed, Outcome
from services.domain.slices import SLICE_LOGINS, Slice
from services.handlers.check_device import look_up_devices
from services.handlers.ports import Breaker, Directly, Networks, OutlierApi, Transaction
from services.handlers.records import SavedLogin

SliceOf = tuple[str, int, int]
"""An import's id, and the first and the last of some buckets of users, as messages have them."""


def apply_slices(
    slices: Sequence[SliceOf], tx: Transaction, networks: Networks
) -> Sequence[Outcome]:
    """Apply the next logins of each slice: what was taken out of the import is not there to be taken again."""
    return [_apply(*each, tx, networks) for each in slices]


def _apply(which: str, first: int, last: int, tx: Transaction, networks: Networks) -> Outcome:
    import_id = UUID(which)
    logins, known = tx.take_history(import_id, Slice(first, last).keys, SLICE_LOGINS)
    if logins:
        where = {login.workflow_id: networks.of(login.ip) for login in logins}
        tx.save_history(look_up_devices(logins, tx, networks), where)
    if logins or known:
        tx.note_history(import_id, first, [it.workflow_id for it in logins], known)
    return Done({"accepted": len(logins), "known": known})


def learn_slices(slices: SliceOf, directly: Directly, api: OutlierApi, breaker: Breaker) -> Outcome:
    """Have the outlier API learn what was applied of some users, in order; no transaction is open during a call.

    Idempotent: a login's id is its request's, and the API learns each once.
    """
    import_id, first, last = UUID(slices[0]), slices[1], slices[2]
    with directly() as tx:
        parts = tx.unlearned_history(import_id, first, last)
    learned = 0
    try:
        for part, workflow_ids in parts.items():
            with directly() as tx:
                saved = tx.saved_logins(workflow_ids)
            # Who was erased meanwhile is not learned.
            logins = [saved[each] for each in workflow_ids if each in saved]
            if logins:
                _learn(logins, api, breaker)
            with directly() as tx:
                tx.note_learned_history(part)
            learned += len(logins)
    except Unavailable as error:
        return Failed(error)
    return Done({"learned": learned})


def _learn(logins: Sequence[SavedLogin], api: OutlierApi, breaker: Breaker) -> None:
    breaker.check()
    try:
        api.learn(logins)
    except Unavailable:
        breaker.record_failure()
        raise
    breaker.record_success()


def sum_up(import_ids: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
    """What became of each import's logins."""
    sums = [tx.sum_up_history(UUID(each)) for each in import_ids]
    return [Done({"accepted": accepted, "known": known}) for accepted, known in sums]
