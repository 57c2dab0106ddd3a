"""Sends one recorded notice over its channel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from uuid import UUID

from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed, NoticeEnded, Outcome
from services.handlers.channels import Senders
from services.handlers.ports import Directly
from services.handlers.records import Notice

logger = logging.getLogger(__name__)

LONGEST_CALL_SECONDS = 15.0
LEASE_SECONDS = 20.0
"""No longer than the senders' own deadlines plus a margin; a redelivery after a kill waits for it."""


def deliver_notice(
    notice_id: UUID,
    directly: Directly,
    senders: Senders,
    elapsed: Callable[[], float] = monotonic,
) -> Outcome:
    """Send the notice, unless it is sent already.

    The intent is committed before the call and the outcome after it. Only a
    process that dies or freezes in between can send twice, and then under the
    same id.
    elapsed: seconds by a clock that runs on while the process is stopped.
    """
    began = elapsed()
    with directly() as tx:
        is_claimed, notice = tx.claim_notice(notice_id, LEASE_SECONDS)
    if notice is None:
        return Failed(Refused(f"notice {notice_id} is no longer there"))
    if not is_claimed:
        return _without_sending(notice)
    if elapsed() - began > LEASE_SECONDS - LONGEST_CALL_SECONDS:
        # Held up so long that somebody else may have the lease before the call is over.
        return Failed(Unavailable(f"the lease of notice {notice_id} ran out before the call"))
    try:
        receipt = _send(notice, senders)
    except (Unavailable, Refused) as error:
        with directly() as tx:
            tx.note_not_sent(notice_id, str(error))
        return Failed(error)
    _note_sent(notice_id, receipt, directly)
    return _done(notice, receipt, (NoticeEnded(notice.channel, "sent"),))


def _note_sent(notice_id: UUID, receipt: str, directly: Directly) -> None:
    """What was sent is sent, also when that cannot be written now: it is never sent again for that.

    The step's result carries the receipt, and `record_receipt` settles the notice by it.
    """
    try:
        with directly() as tx:
            tx.note_sent(notice_id, receipt)
    except Exception:  # whatever it is, the notice has left the house
        logger.exception("notice %s was sent; its receipt settles it later", notice_id)


def _send(notice: Notice, senders: Senders) -> str:
    send = senders.get(notice.channel)
    if send is None:
        # Recorded by a later release than the one that runs.
        raise Refused(
            f"notice {notice.id} goes over {notice.channel}, which nobody here sends over"
        )
    return send(notice)


def _without_sending(notice: Notice) -> Outcome:
    if notice.state == "sent":
        return _done(notice, notice.receipt or "")
    if notice.state == "superseded":
        # Whoever replays it later must not tell the user a second time.
        return _done(notice, "superseded: by another channel, or withdrawn with its incident")
    return Failed(Unavailable(f"notice {notice.id} is being sent elsewhere"))


def _done(notice: Notice, receipt: str, effects: tuple[NoticeEnded, ...] = ()) -> Done:
    result = {"notice_id": str(notice.id), "channel": notice.channel, "receipt": receipt}
    return Done(result, effects=effects)
