"""What follows a delivery: the receipt is recorded, or the next channel is tried, also when the mail came back."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Literal
from uuid import UUID, uuid5

from services.domain.errors import Refused
from services.domain.model import Channel
from services.domain.outcome import Done, Failed, NoticeEnded, Outcome
from services.handlers.channels import OWN
from services.handlers.notify_user import channels, digest_channels, is_told, new_notice
from services.handlers.ports import Transaction
from services.handlers.records import Contact, NewEvent, NewNotice, Notice


def record_receipts(receipts: Sequence[tuple[UUID, str]], tx: Transaction) -> Sequence[Outcome]:
    """Enter each delivered notice into the list of receipts, once.

    receipts: what the receivers answered. It also proves the sending of a notice
    that a database put back to an earlier moment knows as under way only.
    """
    recorded = tx.record_receipts([notice_id for notice_id, _ in receipts])
    if forgotten := {key: text for key, text in receipts if key not in recorded}:
        tx.settle_sent(forgotten)
        recorded |= tx.record_receipts(list(forgotten))
    return [
        Done({"notice_id": str(notice_id), "recorded": notice_id in recorded})
        for notice_id, _ in receipts
    ]


def try_next_channels(notice_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Give these notices up, and record each on the next channel that was not tried yet.

    A notice with a next channel becomes `superseded`, one without `failed`. So does
    one beside which another address is reached, or may still be: `superseded`. One
    that was sent, or given up before, stays as it is.
    """
    # In one order everywhere, for each locks what tells the same.
    notices = {notice_id: tx.notice(notice_id) for notice_id in notice_ids}
    ordered = sorted(notices, key=lambda it: found.workflow_id if (found := notices[it]) else it)
    outcomes = {
        notice_id: _try_next_channel(notice_id, notices[notice_id], tx) for notice_id in ordered
    }
    return [outcomes[notice_id] for notice_id in notice_ids]


def answer_bounces(tx: Transaction) -> Done:
    """Record notices whose mails came back on the next channel that was not tried yet, up to a hundred.

    Where there is none, the application hears of it.
    """
    effects, recorded = [], set[UUID]()
    for notice_id in tx.take_bounced():
        notice = tx.notice(notice_id)
        if notice is None:
            continue
        following, is_lost, contact = _look_on(notice, tx)
        effects.append(NoticeEnded(notice.channel, "bounced"))
        if following is not None:
            recorded |= tx.record_notices([following])
        elif is_lost:
            _tell(notice, contact, tx)
    return Done(
        {"bounces": len(effects)}, notices=tuple(map(str, recorded)), effects=tuple(effects)
    )


def _try_next_channel(notice_id: UUID, notice: Notice | None, tx: Transaction) -> Outcome:
    if notice is None:
        return Failed(Refused(f"notice {notice_id} is no longer there"))
    following, is_lost, contact = _look_on(notice, tx)
    state: Literal["superseded", "failed"] = "failed" if is_lost else "superseded"
    if not tx.give_up_notice(notice_id, state):
        return _done(notice_id, None, ())
    given_up = NoticeEnded(notice.channel, state)
    if following is None:
        if is_lost:
            _tell(notice, contact, tx)
        return _done(notice_id, None, (), given_up)
    ids = tuple(str(it) for it in tx.record_notices([following]))
    return replace(_done(notice_id, following.id, ids, given_up), onto=notice.onto)


def _look_on(notice: Notice, tx: Transaction) -> tuple[NewNotice | None, bool, Contact]:
    """What follows a notice that did not reach anybody, and whether nothing does though it should."""
    contact = tx.contacts([notice.workflow_id])[notice.workflow_id]
    fates = tx.siblings(notice.id)
    if any(fates.get(it, "lost") != "lost" for it in OWN if it != notice.channel):
        # Of the user's own one is enough; the one that is still under way looks on itself if it fails.
        return None, False, contact
    following = _next(notice, contact, fates.keys())
    return following, following is None, contact


def _next(notice: Notice, contact: Contact, tried: AbstractSet[Channel]) -> NewNotice | None:
    for channel in _channels(notice, contact):
        if channel not in tried:
            return new_notice(notice.workflow_id, notice.reason, channel, notice.incident_id)
    return None


def _channels(notice: Notice, contact: Contact) -> Sequence[Channel]:
    if notice.reason == "digest":
        return digest_channels(contact)
    return channels(contact, "new_device" if notice.reason == "folded" else notice.reason)


def _tell(notice: Notice, contact: Contact, tx: Transaction) -> None:
    """Have the application hear that a notice reached nobody."""
    if is_told(contact, "notice.failed"):
        data = {"notice_id": str(notice.id), "notice": notice.reason, "channel": notice.channel}
        event_id = uuid5(notice.id, "event:notice.failed")
        tx.record_events([NewEvent(event_id, notice.workflow_id, "notice.failed", data)])


def _done(
    notice_id: UUID, following: UUID | None, recorded: tuple[str, ...], *given_up: NoticeEnded
) -> Done:
    return Done(
        {"notice_id": str(notice_id), "next": str(following) if following else None},
        notices=recorded,
        effects=given_up,
    )
