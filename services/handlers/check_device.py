"""Looks devices up among the users' known devices, and remembers them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from services.domain.device import Device, recognise
from services.domain.errors import Refused
from services.domain.model import SIGNS_IN, DeviceCheck, Login
from services.domain.network import Network, is_usual
from services.domain.outcome import Done, Failed, Outcome
from services.handlers.fingerprint import describe, describe_families, fingerprint, traits_of
from services.handlers.ports import Networks, Transaction
from services.handlers.records import Look, NewDevice, Sighting


def check_reported(
    workflow_ids: Sequence[UUID], tx: Transaction, networks: Networks
) -> Sequence[Outcome]:
    """Check the devices of the logins that these workflows were accepted for."""
    logins = tx.logins(workflow_ids)
    checked = iter(check_devices([logins[i] for i in workflow_ids if i in logins], tx, networks))
    return [next(checked) if i in logins else missing_login(i) for i in workflow_ids]


def check_devices(
    logins: Sequence[Login], tx: Transaction, networks: Networks
) -> Sequence[Outcome]:
    """Check the device of each login, as `look_up_devices`."""
    return [Done(it.to_message()) for it in look_up_devices(logins, tx, networks)]


def look_up_devices(
    logins: Sequence[Login], tx: Transaction, networks: Networks
) -> list[DeviceCheck]:
    """Whose device is new; a login on a device that is not known makes it known.

    Of logins on the same new device, in one list or in concurrent transactions,
    exactly one is told `is_new`: the first sign-in, where others came before it. The
    same workflow gets the same answer again.
    """
    by_workflow = {login.workflow_id: login for login in logins}
    where = {login.workflow_id: networks.of(login.ip) for login in logins}
    known = tx.devices([_look(it, where[it.workflow_id]) for it in by_workflow.values()])
    seen = _Seen(tx.networks({(login.tenant_id, login.user_id) for login in logins}))
    for login in sorted(by_workflow.values(), key=lambda it: (it.occurred_at, it.workflow_id)):
        seen.see(login, known[login.workflow_id], where[login.workflow_id])
    firsts = tx.add_devices(seen.added)
    tx.see_devices(list(seen.sightings.values()))
    tx.keep_cookies(seen.cookies)
    tx.add_networks(seen.added_networks)
    return [seen.check(login, firsts) for login in logins]


def missing_login(workflow_id: UUID) -> Failed:
    """The outcome for a workflow whose login was erased meanwhile."""
    return Failed(Refused(f"the login of workflow {workflow_id} is no longer there"))


def _look(login: Login, network: Network) -> Look:
    traits = traits_of(login.user_agent)
    return Look(
        login.workflow_id,
        login.tenant_id,
        login.user_id,
        login.cookie_id,
        fingerprint(traits, network),
        traits.browser,
        describe_families(login.user_agent),
    )


@dataclass(slots=True)
class _Seen:
    """What a list of logins, one after the other, does to the devices that are known."""

    networks: Mapping[tuple[str, str], Collection[Network]]
    added_networks: dict[tuple[str, str, Network], UUID] = field(default_factory=dict)
    added: list[NewDevice] = field(default_factory=list)
    sightings: dict[UUID, Sighting] = field(default_factory=dict)
    cookies: dict[tuple[str, str, UUID], UUID] = field(default_factory=dict)
    _known_networks: dict[tuple[str, str], set[Network]] = field(default_factory=dict)
    _found: dict[UUID, Device] = field(default_factory=dict)
    _new: dict[tuple[str, str], list[Device]] = field(default_factory=dict)

    def see(self, login: Login, known: Sequence[Device], network: Network) -> None:
        user = (login.tenant_id, login.user_id)
        new = self._new.setdefault(user, [])
        devices = [*known, *new]
        is_usual_network = self._is_usual(login, network)
        # Its own, where it was checked before.
        device = next(
            (it for it in devices if it.first_workflow_id == login.workflow_id), None
        ) or recognise(traits_of(login.user_agent), devices, is_network_usual=is_usual_network)
        if device is None:
            device = self._add(login, network)
            new.append(device)
        else:
            self._sight(login, device)
        self._found[login.workflow_id] = device
        holder = next((it for it in known if it.has_cookie), device)
        if login.cookie_id is not None and not holder.is_cookie_kept:
            self.cookies.setdefault((*user, login.cookie_id), holder.id)

    def check(self, login: Login, firsts: frozenset[UUID]) -> DeviceCheck:
        device = self._found[login.workflow_id]
        sighting = self.sightings.get(device.id)
        first = (sighting and sighting.signed_in) or device.first_workflow_id
        is_new = first == login.workflow_id
        is_first = device.is_first_of_user or device.id in firsts
        return DeviceCheck(login.workflow_id, device.id, is_new, is_first=is_new and is_first)

    def _sight(self, login: Login, device: Device) -> None:
        before = self.sightings.get(device.id)
        signed_in = before.signed_in if before else None
        if not device.is_signed_in and signed_in is None and login.kind in SIGNS_IN:
            signed_in = login.workflow_id
        seen_at = max(login.occurred_at, before.seen_at if before else login.occurred_at)
        traits = traits_of(login.user_agent)
        self.sightings[device.id] = Sighting(device.id, seen_at, traits, signed_in)

    def _is_usual(self, login: Login, network: Network) -> bool:
        user = (login.tenant_id, login.user_id)
        known = self._known_networks.get(user)
        if known is None:
            known = self._known_networks[user] = {*self.networks.get(user, ())}
        usual = is_usual(network, known)
        if network != Network() and network not in known:
            self.added_networks[*user, network] = login.workflow_id
            known.add(network)
        return usual

    def _add(self, login: Login, network: Network) -> Device:
        traits = traits_of(login.user_agent)
        device = Device(
            id=uuid5(login.workflow_id, "device"),
            first_workflow_id=login.workflow_id,
            is_first_of_user=False,
            is_signed_in=login.kind in SIGNS_IN,
            browser=traits.browser,
            products=traits.products,
            system=traits.system,
            model=traits.model,
            last_seen_at=login.occurred_at,
        )
        self.added.append(
            NewDevice(
                device.id,
                login.workflow_id,
                login.tenant_id,
                login.user_id,
                fingerprint(traits, network),
                describe(login.user_agent),
                traits,
                login.occurred_at,
                device.is_signed_in,
            )
        )
        return device
