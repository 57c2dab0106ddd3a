"""Tells users of a day's sign-ins together: each device's part, then one notice of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from uuid import UUID

from services.domain.errors import Refused
from services.domain.outcome import Done, Failed, Outcome, Wire
from services.handlers.notify_user import digest_channels, new_notice
from services.handlers.ports import Transaction
from services.handlers.records import Contact, NewNotice

_GONE = Refused("the digest is gone: its user was erased")


def digest_devices(places: Sequence[tuple[UUID, int]], tx: Transaction) -> Sequence[Outcome]:
    """Sum up the day's sign-ins on the device at each place of a digest's list. Idempotent."""
    logins = tx.digest_devices(places)
    return [
        Done({"workflow_id": str(place[0]), "devices": 1, "logins": logins[place]})
        if place in logins
        else Failed(_GONE)
        for place in places
    ]


def digest_others(workflow_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Count the day's sign-ins on devices that are in no list, and these devices. Idempotent."""
    found = tx.digest_others(workflow_ids)
    return [
        Done({"workflow_id": str(i), "devices": found[i][0], "logins": found[i][1]})
        if i in found
        else Failed(_GONE)
        for i in workflow_ids
    ]


def record_digests(digests: Sequence[Sequence[Wire]], tx: Transaction) -> Sequence[Outcome]:
    """Record one mail for each digest; what all parts of it have counted is the argument.

    None for a user who has unsubscribed since, or whose tenant wants no digests any more.
    """
    told_in = tx.digests_told_in([UUID(parts[0]["workflow_id"]) for parts in digests])
    contacts = tx.contacts([*told_in.values()])
    due = {i: _mail(contacts[login]) for i, login in told_in.items() if login in contacts}
    recorded = tx.record_notices([notice for notices in due.values() for notice in notices])
    return [_outcome(parts, due, recorded) for parts in digests]


def _mail(contact: Contact) -> list[NewNotice]:
    if contact.policy.digest_hour is None:
        return []
    return [
        # Of these there is one a day, whatever else is told: no number within an hour.
        replace(
            new_notice(contact.workflow_id, "digest", channel),
            is_dry_run=contact.policy.is_dry_run,
        )
        for channel in digest_channels(contact)[:1]
    ]


def _outcome(
    parts: Sequence[Wire], due: Mapping[UUID, Sequence[NewNotice]], recorded: AbstractSet[UUID]
) -> Outcome:
    workflow_id = UUID(parts[0]["workflow_id"])
    if workflow_id not in due:
        return Failed(_GONE)
    return Done(
        {
            "workflow_id": str(workflow_id),
            "devices": sum(part["devices"] for part in parts),
            "logins": sum(part["logins"] for part in parts),
            "notices": len(due[workflow_id]),
        },
        notices=tuple(str(it.id) for it in due[workflow_id] if it.id in recorded),
    )
