"""Stores verdicts and acts on them: switches, and a second notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from services.domain.model import Action, SwitchName, Verdict
from services.domain.outcome import Done, Outcome, VerdictStored
from services.handlers.check_device import missing_login
from services.handlers.notify_user import first_notices
from services.handlers.ports import Contact, Flip, Transaction
from services.handlers.score_login import unscored


def apply_verdicts(verdicts: Sequence[Verdict], tx: Transaction) -> Sequence[Outcome]:
    """Store each verdict once and act on it in the same transaction.

    A verdict that is stored already is not acted on again; a real one replaces
    `unscored`. The result's `switches` are those that this verdict turned on.
    """
    contacts = tx.contacts([verdict.workflow_id for verdict in verdicts])
    new = tx.store_verdicts([verdict for verdict in verdicts if verdict.workflow_id in contacts])
    acted_on = [verdict for verdict in verdicts if verdict.workflow_id in new]
    flipped = tx.turn_on([flip for verdict in acted_on for flip in _flips(verdict, contacts)])
    notices = {
        verdict.workflow_id: first_notices(contacts[verdict.workflow_id], "verdict")
        for verdict in acted_on
        if is_notice_due(verdict)
    }
    recorded = tx.record_notices([notice for due in notices.values() for notice in due])
    return [
        _outcome(
            verdict,
            flipped,
            [n.id for n in notices.get(verdict.workflow_id, ()) if n.id in recorded],
            contacts[verdict.workflow_id].age_seconds if verdict.workflow_id in new else None,
        )
        if verdict.workflow_id in contacts
        else missing_login(verdict.workflow_id)
        for verdict in verdicts
    ]


def record_unscored(workflow_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Store `unscored` for logins that have no verdict; a verdict that is there stays."""
    return apply_verdicts([unscored(workflow_id) for workflow_id in workflow_ids], tx)


def switches(verdict: Verdict) -> tuple[SwitchName, ...]:
    """The policy: which switches a verdict turns on. Without a score, none."""
    if verdict.level == "unscored":
        return ()
    names: list[SwitchName] = []
    if verdict.level in ("medium", "high"):
        names.append("require_step_up")
    if is_locked_by(verdict.action):
        names.append("locked")
    return tuple(names)


def is_locked_by(action: Action | None) -> bool:
    """Whether the account is locked for this action of a verdict."""
    return action == "deny"


def is_notice_due(verdict: Verdict) -> bool:
    """The user hears of a high level, and of being locked out."""
    return verdict.level == "high" or "locked" in switches(verdict)


def _flips(verdict: Verdict, contacts: Mapping[UUID, Contact]) -> list[Flip]:
    contact = contacts[verdict.workflow_id]
    reason = f"level {verdict.level}, action {verdict.action}"
    return [
        Flip(contact.tenant_id, contact.user_id, name, verdict.workflow_id, reason)
        for name in switches(verdict)
    ]


def _outcome(
    verdict: Verdict,
    flipped: AbstractSet[tuple[UUID, SwitchName]],
    notices: Sequence[UUID],
    stored_after: float | None,
) -> Outcome:
    return Done(
        {
            "workflow_id": str(verdict.workflow_id),
            "level": verdict.level,
            "switches": [n for n in switches(verdict) if (verdict.workflow_id, n) in flipped],
        },
        notices=tuple(str(notice_id) for notice_id in notices),
        effects=() if stored_after is None else (VerdictStored(verdict.level, stored_after),),
    )
