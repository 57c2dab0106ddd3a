"""Turns one switch on for the many users of an incident, as far as it is not stopped."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from services.domain.errors import Refused
from services.domain.incident import Slice
from services.domain.outcome import Done, Failed, Outcome
from services.domain.policy import is_spared
from services.handlers.notify_user import first_notices
from services.handlers.ports import Transaction
from services.handlers.records import NewNotice

_GONE = Failed(Refused("the incident is gone: what is kept for a time only was deleted"))


def switch_users(slices: Sequence[Slice], tx: Transaction) -> Sequence[Outcome]:
    """Turn the incident's switch on for these users, but for those whom the tenant's policy spares.

    Idempotent: of each user it is kept what was done, and nothing is done twice.
    """
    return [_switch(users, tx) for users in slices]


def notify_switched(portions: Sequence[Slice], tx: Transaction) -> Sequence[Outcome]:
    """Record the notices of users whose switch was turned on; who is not reached by any login is not told.

    What is recorded while the incident is being stopped is not sent.
    """
    return [_notify(users, tx) for users in portions]


def switch_back(slices: Sequence[Slice], tx: Transaction) -> Sequence[Outcome]:
    """Take back what the incident did to these users' switches, unless somebody has changed them since."""
    return [Done({"undone": tx.switch_back(users)}) for users in slices]


def _switch(users: Slice, tx: Transaction) -> Outcome:
    incident = tx.join_incident(users.incident_id)
    if incident is None:
        return _GONE
    if incident.is_stopped:
        return Done({"stopped": True})
    spared = [
        user for user in tx.take_users(users) if is_spared(incident.policy, incident.switch, user)
    ]
    return Done({"switched": tx.switch_on(users, spared)})


def _notify(users: Slice, tx: Transaction) -> Outcome:
    incident = tx.incident(users.incident_id)
    if incident is None:
        return _GONE
    if incident.is_stopped:
        return Done({"stopped": True})
    contacts = tx.contacts(tx.take_untold(users))
    due = [
        notice
        for contact in contacts.values()
        for notice in first_notices(contact, "lockdown", users.incident_id)
    ]
    return _recorded(due, tx.record_notices(due), incident.notices_onto)


def _recorded(due: Sequence[NewNotice], recorded: AbstractSet[UUID], onto: str | None) -> Done:
    ids = tuple(str(notice.id) for notice in due if notice.id in recorded)
    return Done({"notices": len(ids)}, notices=ids, onto=onto, has_many_notices=True)
