"""What handlers read and write, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from services.domain.device import Traits
from services.domain.digest import Digest
from services.domain.model import (
    Channel,
    Level,
    LoginKind,
    SwitchName,
    Verdict,
)
from services.domain.policy import EventName, Policy, Reason

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
