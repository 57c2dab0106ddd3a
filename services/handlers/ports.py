"""What handlers need from outside, in the words of the domain; adapters implement it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from services.domain.device import Device
from services.domain.errors import Refused, Unavailable
from services.domain.incident import Slice
from services.domain.model import (
    Channel,
    DeviceCheck,
    Login,
    SwitchName,
    Verdict,
)
from services.domain.network import Network
from services.domain.policy import Reason
from services.handlers.erase_user import Forgets
from services.handlers.export_user import SaysWhatItLearned
from services.handlers.history_ports import HistoryRows
from services.handlers.records import (
    Contact,
    DayOfUser,
    Delivery,
    FailedStep,
    Fate,
    Flip,
    ForDigest,
    Incident,
    Judgement,
    Look,
    Mail,
    NewDevice,
    NewEvent,
    NewNotice,
    Notice,
    SavedLogin,
    Sighting,
)


class Transaction(HistoryRows, Protocol):
    """The product's reads and writes inside one PostgreSQL transaction.

    Lists are handled as sets, in one round trip each, and rows are locked in one
    order everywhere, so that lists in any order cannot deadlock. Errors that
    mean "PostgreSQL is away" pass through as the driver raises them.
    """

    def logins(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, Login]:
        """The reported logins that are there."""
        ...

    def devices(self, looks: Sequence[Look]) -> Mapping[UUID, Sequence[Device]]:
        """The known devices that each login may have come from, by its workflow; at most a hundred, the last seen.

        The users' devices stay locked until the transaction ends: of two
        transactions that see the same new device, one adds it and the other finds it.
        """
        ...

    def networks(
        self, users: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Collection[Network]]:
        """The networks that users (tenant and id) have signed in from."""
        ...

    def add_networks(self, networks: Mapping[tuple[str, str, Network], UUID]) -> None:
        """Remember networks of users, with the workflow that brought each; those that are known stay."""
        ...

    def add_devices(self, devices: Sequence[NewDevice]) -> frozenset[UUID]:
        """Remember devices; the ids of those whose user had none before."""
        ...

    def see_devices(self, sightings: Collection[Sighting]) -> None:
        """Note that known devices were seen; one sighting a device."""
        ...

    def keep_cookies(self, cookies: Mapping[tuple[str, str, UUID], UUID]) -> None:
        """Note whose device has a cookie: tenant, user and the cookie's id lead to the device's."""
        ...

    def brought_second_device(self, workflow_ids: Sequence[UUID]) -> AbstractSet[UUID]:
        """Those whose login was the first on a device, and not on the user's first device."""
        ...

    def contacts(
        self, workflow_ids: Sequence[UUID], *, with_earlier_logins: bool = False
    ) -> Mapping[UUID, Contact]:
        """How the users of these logins can be told. Earlier logins are counted where that is asked for."""
        ...

    def record_notices(self, notices: Sequence[NewNotice]) -> AbstractSet[UUID]:
        """Record what is not recorded yet; the ids that were."""
        ...

    def record_events(self, events: Sequence[NewEvent]) -> None:
        """Record what applications are to hear, each once."""
        ...

    def note_canary(self) -> None:
        """A canary has returned, now."""
        ...

    def fold(self, seconds: float) -> Mapping[UUID, Reason]:
        """Take all logins of up to a hundred users that were put aside, the first of them so long ago.

        They are to be told of together: with the notice of the workflow that is returned, the last of them, and
        for the weightiest of their reasons.
        """
        ...

    def notice(self, notice_id: UUID) -> Notice | None: ...

    def siblings(self, notice_id: UUID) -> Mapping[Channel, Fate]:
        """What became of the same thing on each channel on which it was to be told, the notice's own included.

        They stay locked until the transaction ends.
        """
        ...

    def claim_notice(self, notice_id: UUID, lease_seconds: float) -> tuple[bool, Notice | None]:
        """State the intent to send; false if it is sent, given up, or being sent elsewhere.

        With the notice as it was before; None: it is no longer there.
        """
        ...

    def note_sent(self, notice_id: UUID, receipt: str) -> None:
        """The receiver took it."""
        ...

    def note_not_sent(self, notice_id: UUID, error: str) -> None:
        """This attempt failed; the next need not wait for the lease to run out."""
        ...

    def give_up_notice(self, notice_id: UUID, state: Literal["failed", "superseded"]) -> bool:
        """Try it no more; false if it is sent, or given up already. Locks the notice."""
        ...

    def take_bounced(self) -> Sequence[UUID]:
        """Up to a hundred sent notices that came back and were not taken yet."""
        ...

    def settle_sent(self, receipts: Mapping[UUID, str]) -> None:
        """Mark notices as sent that their receivers took; superseded ones stay what they are."""
        ...

    def record_receipts(self, notice_ids: Sequence[UUID]) -> AbstractSet[UUID]:
        """Enter sent notices into the list of receipts once; the ids that are in it."""
        ...

    def addresses(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """Where the reported logins that are there came from."""
        ...

    def save_logins(
        self, checks: Sequence[DeviceCheck], networks: Mapping[UUID, Network]
    ) -> Mapping[UUID, ForDigest | None]:
        """Store the logins with their checks and networks once; the workflow ids that are stored.

        One without a network is left out. With what a digest has to tell of, where the tenant's users get some.
        """
        ...

    def put_into_digests(self, logins: Mapping[UUID, DayOfUser]) -> None:
        """Have stored logins told of with all others of their day; which day one belongs to is said once."""
        ...

    def digest_devices(self, places: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
        """Sum up a day's logins on devices, each at its place in a digest's list; how many there were.

        Digests that are no longer there are left out, here and below.
        """
        ...

    def digest_others(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, tuple[int, int]]:
        """Count the devices that digests have in no list, and the day's logins on them."""
        ...

    def digests_told_in(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """By the workflow of a digest the one of the login with which its notice is recorded."""
        ...

    def saved_logins(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, SavedLogin]:
        """The stored logins that are there."""
        ...

    def store_verdicts(self, judged: Sequence[Judgement]) -> Mapping[UUID, bool]:
        """Store each verdict once, a real one over `unscored`; those that changed, and whether that was late."""
        ...

    def ask_no_more(self, workflow_ids: Sequence[UUID]) -> None:
        """Leave these logins, as far as they have no score, without one for good."""
        ...

    def turn_on(self, flips: Sequence[Flip]) -> AbstractSet[tuple[UUID, SwitchName]]:
        """Turn on what is off, each flip with its row in the audit trail; what was turned on.

        What is on and would expire does so later, if the flip says so.
        """
        ...

    def expire_switches(self) -> int:
        """Turn off what has expired, at most a thousand, each flip with its row in the audit trail; how many."""
        ...

    def note_failed(self, failures: Sequence[FailedStep]) -> None:
        """Keep each failure once."""
        ...

    def incident(self, incident_id: UUID) -> Incident | None:
        """How the incident stands; None: it is no longer there."""
        ...

    def join_incident(self, incident_id: UUID) -> Incident | None:
        """As `incident`; and who stops it waits for the end of this transaction, after having said so."""
        ...

    def take_users(self, users: Slice) -> Sequence[str]:
        """Lock those of an incident's users about whom nothing was done yet."""
        ...

    def switch_on(self, users: Slice, spared: Collection[str]) -> int:
        """Turn the incident's switch on for those about whom nothing was done yet, but the spared; for how many.

        Each flip has its row in the audit trail. One that is on and would go off before
        the incident's does so later. What became of each user is kept.
        """
        ...

    def take_untold(self, users: Slice) -> Sequence[UUID]:
        """The logins by which users can be told that their switch was turned on; each user is taken once."""
        ...

    def switch_back(self, users: Slice) -> int:
        """Take back what the incident did to switches, unless somebody has changed them since; of how many."""
        ...


Directly = Callable[[], AbstractContextManager[Transaction]]
"""Lends the same calls to who holds no transaction: each commits by itself, in one round trip."""


class Networks(Protocol):
    def of(self, ip: str) -> Network:
        """What is known of an address, without asking anybody."""
        ...


class Mailer(Protocol):
    def send(self, mail: Mail) -> str:
        """Hand the mail to the mail server and return its answer.

        Raises:
            Unavailable: the server is away or asks to try later.
            Refused: the server or the address will never take it.
        """
        ...


class WebhookSender(Protocol):
    def send(self, delivery: Delivery) -> str:
        """Post the body, signed, and return the receiver's answer in one line.

        Raises:
            Unavailable: no answer in time, 5xx, 408, 425 or 429.
            Refused: another answer than 2xx, or a target that is not allowed.
        """
        ...


class OutlierApi(Forgets, SaysWhatItLearned, Protocol):
    def score(self, logins: Sequence[SavedLogin]) -> Sequence[Verdict | Unavailable | Refused]:
        """Ask for verdicts, together where the API takes several; one answer for each login.

        A workflow's id is its request's and the idempotency key: asking again gives the same verdict.
        Unavailable: no usable answer within the deadline. Refused: the API says that the request is wrong.
        """
        ...

    def learn(self, logins: Sequence[SavedLogin]) -> None:
        """Have logins of before learned in this order, each once by its workflow's id, but those that the API refuses.

        Raises:
            Unavailable: no usable answer within the deadline.
        """
        ...


class Breaker(Protocol):
    """Stops calls of the whole fleet to something that is down."""

    def check(self) -> bool:
        """Let the call through; true if it is the probe, for which all others wait.

        Raises:
            Unavailable: the breaker is open, or another call is the probe.
        """
        ...

    def record_success(self) -> None:
        """Count an answer; never raises, for the answer is worth more than the count."""
        ...

    def record_failure(self) -> None:
        """Count a call without one; never raises."""
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, with its zone."""
        ...
