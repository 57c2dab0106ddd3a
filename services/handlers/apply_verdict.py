"""Stores verdicts and acts on them by their tenants' policies: switches, and a second notice."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from uuid import UUID, uuid5

from services.domain.model import SwitchName, Verdict
from services.domain.outcome import Done, Outcome, VerdictStored
from services.domain.policy import decide
from services.handlers.check_device import missing_login
from services.handlers.notify_user import first_notices, is_told
from services.handlers.ports import Transaction
from services.handlers.records import Contact, Flip, Judgement, NewEvent
from services.handlers.score_login import unscored


def apply_verdicts(verdicts: Sequence[Verdict], tx: Transaction) -> Sequence[Outcome]:
    """Store each verdict once and act on it in the same transaction, as its tenant's policy says.

    A verdict that is stored already is not acted on again; a real one replaces
    `unscored`. The result's `switches` are those that this verdict turned on.
    """
    contacts = tx.contacts([verdict.workflow_id for verdict in verdicts], with_earlier_logins=True)
    judged: dict[UUID, Judgement] = {}
    # Of several on one login the first real one counts, whatever else is in the list.
    for verdict in sorted(verdicts, key=lambda verdict: verdict.level == "unscored"):
        if verdict.workflow_id in contacts and verdict.workflow_id not in judged:
            judged[verdict.workflow_id] = _judge(verdict, contacts[verdict.workflow_id])
    new = tx.store_verdicts(list(judged.values()))
    acted_on = [it for it in judged.values() if it.workflow_id in new and not it.is_dry_run]
    flipped = tx.turn_on(
        [
            flip
            for it in acted_on
            for flip in _flips(it, contacts[it.workflow_id], is_late=new[it.workflow_id])
        ]
    )
    notices = {
        it.workflow_id: first_notices(contacts[it.workflow_id], "verdict")
        for it in acted_on
        if it.is_notice_due
    }
    recorded = tx.record_notices([notice for due in notices.values() for notice in due])
    tx.record_events(
        [
            _event(it, flipped, is_late=new[it.workflow_id])
            for it in acted_on
            if is_told(contacts[it.workflow_id], "login.verdict")
        ]
    )
    return [
        _outcome(
            judged[workflow_id],
            flipped,
            [n.id for n in notices.get(workflow_id, ()) if n.id in recorded],
            _stored(judged[workflow_id], contacts[workflow_id], is_late=new[workflow_id])
            if workflow_id in new
            else (),
        )
        if workflow_id in contacts
        else missing_login(workflow_id)
        for workflow_id in (verdict.workflow_id for verdict in verdicts)
    ]


def record_unscored(workflow_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Store `unscored` for logins that have no verdict; a verdict that is there stays.

    The API has refused to judge them, or we cannot ask: they are not asked about again.
    """
    outcomes = apply_verdicts([unscored(workflow_id) for workflow_id in workflow_ids], tx)
    tx.ask_no_more(workflow_ids)
    return outcomes


def _judge(verdict: Verdict, contact: Contact) -> Judgement:
    policy = contact.policy
    decision = decide(
        policy,
        verdict,
        contact.user_id,
        is_device_known=contact.is_device_known,
        earlier_logins=contact.earlier_logins,
    )
    return Judgement(
        replace(verdict, level=decision.level),
        decision.switches,
        decision.is_notice_due,
        policy.is_dry_run or contact.is_history,
    )


def _flips(judgement: Judgement, contact: Contact, *, is_late: bool) -> list[Flip]:
    verdict, policy = judgement.verdict, contact.policy
    reason = f"level {verdict.level}, action {verdict.action}{', late' if is_late else ''}"
    return [
        Flip(
            contact.tenant_id,
            contact.user_id,
            name,
            verdict.workflow_id,
            reason,
            policy.cooldown_seconds,
            policy.expire_seconds.get(name),
        )
        for name in judgement.switches
    ]


def _event(
    judgement: Judgement, flipped: AbstractSet[tuple[UUID, SwitchName]], *, is_late: bool
) -> NewEvent:
    verdict = judgement.verdict
    # A login that was kept without a score can be told of twice.
    about = "unscored" if verdict.level == "unscored" else "scored"
    return NewEvent(
        uuid5(verdict.workflow_id, f"event:login.verdict:{about}"),
        verdict.workflow_id,
        "login.verdict",
        {
            "level": verdict.level,
            "action": verdict.action,
            "score": verdict.score,
            "reasons": verdict.reasons,
            "switches": _turned_on(judgement, flipped),
            "late": is_late,
        },
    )


def _turned_on(
    judgement: Judgement, flipped: AbstractSet[tuple[UUID, SwitchName]]
) -> list[SwitchName]:
    return [name for name in judgement.switches if (judgement.workflow_id, name) in flipped]


def _outcome(
    judgement: Judgement,
    flipped: AbstractSet[tuple[UUID, SwitchName]],
    notices: Sequence[UUID],
    effects: tuple[VerdictStored, ...],
) -> Outcome:
    workflow_id, level = judgement.workflow_id, judgement.verdict.level
    return Done(
        {
            "workflow_id": str(workflow_id),
            "level": level,
            "switches": _turned_on(judgement, flipped),
        },
        notices=tuple(str(notice_id) for notice_id in notices),
        effects=effects,
    )


def _stored(judgement: Judgement, contact: Contact, *, is_late: bool) -> tuple[VerdictStored, ...]:
    # How long an outage was says nothing about how fast verdicts are.
    seconds = None if is_late else contact.age_seconds
    return (VerdictStored(judgement.verdict.level, seconds),)
