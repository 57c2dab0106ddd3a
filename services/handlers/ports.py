"""What handlers need from outside, in the words of the domain; adapters implement it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol
from uuid import UUID

from services.domain.device import Device, Traits
from services.domain.digest import Digest
from services.domain.errors import Refused, Unavailable
from services.domain.incident import Slice
from services.domain.model import (
    Channel,
    DeviceCheck,
    Level,
    Login,
    LoginKind,
    SwitchName,
    Verdict,
)
from services.domain.network import Network
from services.domain.policy import EventName, Policy, Reason
from services.handlers.erase_user import Forgets
from services.handlers.export_user import SaysWhatItLearned
from services.handlers.history_ports import HistoryRows

NoticeReason = Reason | Literal["folded", "digest"]
"""folded: several sign-ins on new devices, told of together. digest: all sign-ins of a day."""
NoticeState = Literal["recorded", "sending", "sent", "failed", "superseded", "dry_run"]
Fate = Literal["reached", "under_way", "lost"]
"""reached: its receiver took it, and it did not come back. lost: it was given up, or came back."""
FailureLevel = Literal["task", "member", "group", "chain"]


@dataclass(frozen=True, slots=True)
class Look:
    """For whose devices to look, and by what: those that have the cookie or the fingerprint, or are of the browser.

    words: for people, of devices of which no more is known.
    """

    workflow_id: UUID
    tenant_id: str
    user_id: str
    cookie_id: UUID | None
    fingerprint: str
    browser: str
    words: str


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to remember; `workflow_id` is of the login that brought it."""

    id: UUID
    workflow_id: UUID
    tenant_id: str
    user_id: str
    fingerprint: str
    description: str
    traits: Traits
    seen_at: datetime
    is_signed_in: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """A known device was seen; its traits count where none were known.

    signed_in: the workflow of the first login that was a sign-in, if this is one.
    """

    device_id: UUID
    seen_at: datetime
    traits: Traits
    signed_in: UUID | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """Whose login a workflow is about and how the user can be told; no address in it.

    age_seconds: since the login was accepted.
    is_device_known: the login is stored, and the user had been seen on its device before.
    is_history: it is learned from; nobody is told, and nothing is done.
    bounced: on which of the user's channels mails came back a while ago because there is no such address.
    has_unsubscribed: the user wants no mails about new devices.
    earlier_logins: stored ones of the user from before this login, up to what `lock_from` asks for; 0: not counted.
    policy: the tenant's.
    """

    workflow_id: UUID
    tenant_id: str
    user_id: str
    has_email: bool
    has_other_email: bool
    bounced: Sequence[Channel]
    has_webhook: bool
    kind: LoginKind
    age_seconds: float
    is_device_known: bool
    is_history: bool
    has_unsubscribed: bool
    earlier_logins: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice to record; of what more than `most_per_hour` of its user's would be, the login is put aside instead.

    most_per_hour: None where there is no limit. is_dry_run: it is recorded as one that is never sent.
    incident_id: the incident that it tells of, by way of the user's last login; nothing is put aside for it.
    """

    id: UUID
    workflow_id: UUID
    reason: NoticeReason
    channel: Channel
    most_per_hour: int | None = None
    is_dry_run: bool = False
    incident_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A recorded notice with all that its message says; `link_key` signs its links, it tells of so many `logins`.

    switches: that the verdict turned on, or the incident which it tells of.
    onto: the queue in which its delivery waits, as its incident wants it; None: where all do.
    """

    id: UUID
    workflow_id: UUID
    tenant_id: str
    tenant_name: str
    user_id: str
    reason: NoticeReason
    channel: Channel
    state: NoticeState
    receipt: str | None
    email: str | None
    webhook_url: str | None
    webhook_secret: str | None
    occurred_at: datetime
    ip: str
    user_agent: str
    auth_method: str | None
    locale: str | None
    time_zone: str | None
    level: Level | None
    switches: Sequence[SwitchName] | None
    is_late: bool
    recorded_at: datetime
    link_key: UUID
    logins: int = 1
    may_unsubscribe: bool = False
    incident_id: UUID | None = None
    onto: str | None = None
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """Of which switch it is, and what its tenant's policy says of its users.

    is_stopped: nothing more is done. notices_onto: the queue in which its notices wait; None: where all do.
    """

    switch: SwitchName
    policy: Policy
    is_stopped: bool
    notices_onto: str | None


@dataclass(frozen=True, slots=True)
class ForDigest:
    """A stored sign-in that its day's digest tells of, at this hour of the next day by its own clock."""

    tenant_id: str
    user_id: str
    occurred_at: datetime
    time_zone: str | None
    hour: int


@dataclass(frozen=True, slots=True)
class DayOfUser:
    """For which user's day a digest is due, and when."""

    tenant_id: str
    user_id: str
    day: date
    due_at: datetime


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """A stored login, as the outlier API is asked about it."""

    workflow_id: UUID
    tenant_id: str
    user_id: str
    occurred_at: datetime
    ip: str
    user_agent: str
    auth_method: str | None
    is_device_known: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with what its tenant's policy wants done: the level is the policy's too.

    switches: to be turned on. is_dry_run: nothing of it is done.
    """

    verdict: Verdict
    switches: tuple[SwitchName, ...]
    is_notice_due: bool
    is_dry_run: bool

    @property
    def workflow_id(self) -> UUID:
        return self.verdict.workflow_id


@dataclass(frozen=True, slots=True)
class Flip:
    """A switch to turn on, and for which workflow and reason.

    cooldown_seconds: not if it was turned off less long ago.
    expire_seconds: so long later it goes off by itself; None: never.
    """

    tenant_id: str
    user_id: str
    name: SwitchName
    workflow_id: UUID
    reason: str
    cooldown_seconds: float
    expire_seconds: float | None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What the application that reported a workflow's login is to hear; data: JSON, without whom it is about."""

    id: UUID
    workflow_id: UUID
    type: EventName
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A failure as one error callback saw it."""

    workflow_id: UUID
    level: FailureLevel
    step_id: str


@dataclass(frozen=True, slots=True)
class Mail:
    message_id: str
    recipient: str
    subject: str
    text: str
    html: str
    language: str
    unsubscribe_url: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook call; `id` stays the same however often it is repeated."""

    id: str
    url: str
    secret: str
    body: bytes


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
