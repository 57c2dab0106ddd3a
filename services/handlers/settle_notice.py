"""What follows a delivery: the receipt is recorded, or the next channel is tried."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal
from uuid import UUID, uuid5

from services.domain.errors import Refused
from services.domain.model import Channel
from services.domain.outcome import Done, Failed, NoticeEnded, Outcome
from services.handlers.notify_user import channels, is_told, new_notice
from services.handlers.ports import Contact, NewEvent, NewNotice, Notice, Transaction


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

    A notice with a next channel becomes `superseded`, one without `failed`. One to
    the second address that stands beside one to the first has no next channel and
    is `superseded`. One that was sent, or given up before, stays as it is.
    """
    return [_try_next_channel(notice_id, tx) for notice_id in notice_ids]


def _try_next_channel(notice_id: UUID, tx: Transaction) -> Outcome:
    notice = tx.notice(notice_id)
    if notice is None:
        return Failed(Refused(f"notice {notice_id} is no longer there"))
    contact = tx.contacts([notice.workflow_id])[notice.workflow_id]
    tried = tx.siblings(notice.id)
    is_beside = (notice.reason, notice.channel) == ("verdict", "other_email") and "email" in tried
    following = None if is_beside else _next(notice, contact, tried)
    state: Literal["superseded", "failed"] = "superseded" if following or is_beside else "failed"
    if not tx.give_up_notice(notice_id, state):
        return _done(notice_id, None, ())
    given_up = NoticeEnded(notice.channel, state)
    if following is None:
        if state == "failed" and is_told(contact, "notice.failed"):
            tx.record_events([_event(notice)])
        return _done(notice_id, None, (), given_up)
    recorded = tx.record_notices([following])
    return _done(notice_id, following.id, tuple(str(i) for i in recorded), given_up)


def _next(notice: Notice, contact: Contact, tried: AbstractSet[Channel]) -> NewNotice | None:
    told_as = "new_device" if notice.reason == "folded" else notice.reason
    for channel in channels(contact, told_as):
        if channel not in tried:
            return new_notice(notice.workflow_id, notice.reason, channel)
    return None


def _event(notice: Notice) -> NewEvent:
    return NewEvent(
        uuid5(notice.id, "event:notice.failed"),
        notice.workflow_id,
        "notice.failed",
        {"notice_id": str(notice.id), "notice": notice.reason, "channel": notice.channel},
    )


def _done(
    notice_id: UUID, following: UUID | None, recorded: tuple[str, ...], *given_up: NoticeEnded
) -> Done:
    return Done(
        {"notice_id": str(notice_id), "next": str(following) if following else None},
        notices=recorded,
        effects=given_up,
    )
