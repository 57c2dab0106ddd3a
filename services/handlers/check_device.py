"""Looks devices up among the users' known devices, and remembers them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid5

from services.domain.errors import Refused
from services.domain.model import DeviceCheck, Login
from services.domain.outcome import Done, Failed, Outcome
from services.handlers.fingerprint import describe, fingerprint
from services.handlers.ports import DeviceKey, KnownDevice, Sighting, Transaction


def check_reported(workflow_ids: Sequence[UUID], tx: Transaction) -> Sequence[Outcome]:
    """Check the devices of the logins that these workflows were accepted for."""
    logins = tx.logins(workflow_ids)
    checked = iter(check_devices([logins[i] for i in workflow_ids if i in logins], tx))
    return [next(checked) if i in logins else missing_login(i) for i in workflow_ids]


def check_devices(logins: Sequence[Login], tx: Transaction) -> Sequence[Outcome]:
    """Check the device of each login; a login on a device that is not known makes it known.

    Of logins on the same new device, in one list or in concurrent transactions,
    exactly one is told `is_new`; the same workflow gets the same answer again.
    """
    keys = [(login.tenant_id, login.user_id, fingerprint(login)) for login in logins]
    known = tx.see_devices(_sightings(zip(keys, logins, strict=True)))
    return [
        Done(_check(login, known[key]).to_message())
        for key, login in zip(keys, logins, strict=True)
    ]


def missing_login(workflow_id: UUID) -> Failed:
    """The outcome for a workflow whose login was erased meanwhile."""
    return Failed(Refused(f"the login of workflow {workflow_id} is no longer there"))


def _sightings(seen: Iterable[tuple[DeviceKey, Login]]) -> list[Sighting]:
    by_key: dict[DeviceKey, list[Login]] = {}
    for key, login in seen:
        by_key.setdefault(key, []).append(login)
    sightings = []
    for key, logins in by_key.items():
        first = min(logins, key=lambda login: (login.occurred_at, login.workflow_id))
        sightings.append(
            Sighting(
                key=key,
                id=uuid5(first.workflow_id, "device"),
                workflow_id=first.workflow_id,
                description=describe(first.user_agent),
                first_seen_at=first.occurred_at,
                last_seen_at=max(login.occurred_at for login in logins),
            )
        )
    return sightings


def _check(login: Login, device: KnownDevice) -> DeviceCheck:
    is_new = device.first_workflow_id == login.workflow_id
    return DeviceCheck(
        login.workflow_id, device.id, is_new, is_first=is_new and device.is_first_of_user
    )
