"""Decides which notices are due for a new device, and records them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from uuid import UUID, uuid5

from services.domain.model import Channel, DeviceCheck
from services.domain.outcome import Done, Outcome
from services.domain.policy import EventName, Reason
from services.handlers.channels import CHANNELS, OWN, WANTED
from services.handlers.check_device import missing_login
from services.handlers.ports import Transaction
from services.handlers.records import Contact, NewNotice, NoticeReason

FOLD_SECONDS = 3600.0
"""So long after the first sign-in that was put aside its user hears of it, and of all others since."""


def notify_users(checks: Sequence[DeviceCheck], tx: Transaction) -> Sequence[Outcome]:
    """Record a notice for each new device that somebody signed in on, but not for a user's first one.

    The result's `notices` counts what is due; the outcome's `notices` are those
    that this transaction recorded.
    """
    due = {check.workflow_id for check in checks if check.is_new and not check.is_first}
    return _notify([check.workflow_id for check in checks], due, tx)


def notify_plainly(workflow_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Record the notice of a new device after `notify_user` failed for good.

    It relies on stored rows alone, not on that step's message. What is recorded
    already is not recorded again.
    """
    return _notify(workflow_ids, tx.brought_second_device(workflow_ids), tx)


def channels(contact: Contact, reason: Reason) -> tuple[Channel, ...]:
    """The channels on which this is told, the one to try first in front."""
    told = contact.policy.tell[reason]
    wanted = WANTED[told]
    if reason == "new_device" and contact.has_unsubscribed and contact.policy.may_unsubscribe:
        # What stands in for a mail is not wanted either; what the application hears anyway is not the user's.
        wanted = () if told == "user" else tuple(it for it in wanted if it not in OWN)
    return _reached(contact, wanted)


def digest_channels(contact: Contact) -> tuple[Channel, ...]:
    """The channels on which a day's digest is told, the one to try first in front: mails, to who wants some."""
    return () if contact.has_unsubscribed else _reached(contact, OWN)


def is_told(contact: Contact, event: EventName) -> bool:
    """Whether the application is to hear of this, apart from any notice."""
    return contact.has_webhook and event in contact.policy.events


def first_notices(
    contact: Contact, reason: Reason, incident_id: UUID | None = None
) -> list[NewNotice]:
    """The notices to start with: one on the first channel, and one to the application when both are to hear of it.

    What may not be the user goes over all of the user's own: whoever signed in may read the first one, too.
    """
    reached = channels(contact, reason)
    own = [it for it in reached if it in OWN][: 1 if reason == "new_device" else None]
    others = [it for it in reached if it not in OWN]
    chosen = [*own, *others] if contact.policy.tell[reason] == "both" else own or others
    return [
        replace(
            new_notice(contact.workflow_id, reason, channel, incident_id),
            # Counted by its reason: what does not look like the user is told whatever else there was.
            most_per_hour=contact.policy.mails_per_hour if channel in OWN else None,
            is_dry_run=contact.policy.is_dry_run,
        )
        for channel in chosen
    ]


def tell_folded(tx: Transaction) -> Done:
    """Record one notice for all sign-ins of a user that were put aside, an hour after the first of them."""
    lasts = tx.fold(FOLD_SECONDS)
    contacts = tx.contacts([*lasts])
    due = [
        replace(new_notice(last, "folded", first), is_dry_run=contacts[last].policy.is_dry_run)
        for last in lasts
        # Since then the user may have unsubscribed.
        for first in _first_own(contacts.get(last), lasts[last])
    ]
    recorded = tx.record_notices(due)
    return Done(
        {"users": len(due)},
        notices=tuple(str(notice.id) for notice in due if notice.id in recorded),
    )


def _reached(contact: Contact, wanted: Sequence[Channel]) -> tuple[Channel, ...]:
    reached = tuple(channel for channel in wanted if CHANNELS[channel].reaches(contact))
    # Where there is nothing else, an address that seemed not to exist is tried again.
    return tuple(channel for channel in reached if channel not in contact.bounced) or reached


def _first_own(contact: Contact | None, reason: Reason) -> list[Channel]:
    return [] if contact is None else [it for it in channels(contact, reason) if it in OWN][:1]


def new_notice(
    workflow_id: UUID, reason: NoticeReason, channel: Channel, incident_id: UUID | None = None
) -> NewNotice:
    """A notice whose id is the same whenever it is made again."""
    about = f"{reason}:{incident_id}" if incident_id else reason
    notice_id = uuid5(workflow_id, f"notice:{about}:{channel}")
    return NewNotice(notice_id, workflow_id, reason, channel, incident_id=incident_id)


def _notify(
    workflow_ids: Sequence[UUID], due: AbstractSet[UUID], tx: Transaction
) -> Sequence[Outcome]:
    contacts = tx.contacts(workflow_ids)
    wanted = {
        i: first_notices(contacts[i], "new_device")
        for i in due
        if i in contacts and contacts[i].kind == "sign_in" and not contacts[i].is_history
    }
    recorded = tx.record_notices([notice for notices in wanted.values() for notice in notices])
    return [
        _outcome(i, wanted.get(i, []), recorded) if i in contacts else missing_login(i)
        for i in workflow_ids
    ]


def _outcome(
    workflow_id: UUID, notices: Sequence[NewNotice], recorded: AbstractSet[UUID]
) -> Outcome:
    return Done(
        {"workflow_id": str(workflow_id), "notices": len(notices)},
        notices=tuple(str(notice.id) for notice in notices if notice.id in recorded),
    )
