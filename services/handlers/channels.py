"""The channels that notices go over, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.domain.model import Channel
from services.domain.policy import Told
from services.handlers.digest_mail import compose_digest
from services.handlers.message import compose_delivery, compose_mail
from services.handlers.ports import Mailer, Networks, WebhookSender
from services.handlers.records import Contact, Notice

Senders = Mapping[Channel, Callable[[Notice], str]]
"""How a notice leaves over each channel: returns what the receiver answered, raises Unavailable or Refused."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a channel is to its users.

    is_own: it is the user's own, else the application's. reaches: whether it leads to anybody.
    """

    is_own: bool
    reaches: Callable[[Contact], bool]


CHANNELS: Mapping[Channel, Terms] = {
    "email": Terms(is_own=True, reaches=lambda contact: contact.has_email),
    "other_email": Terms(is_own=True, reaches=lambda contact: contact.has_other_email),
    "webhook": Terms(is_own=False, reaches=lambda contact: contact.has_webhook),
}

OWN: tuple[Channel, ...] = tuple(name for name, terms in CHANNELS.items() if terms.is_own)
"""Those of the user's own."""

WANTED: Mapping[Told, tuple[Channel, ...]] = {
    "user": tuple(CHANNELS),
    "both": tuple(CHANNELS),
    "application": tuple(name for name in CHANNELS if name not in OWN),
    "nobody": (),
}
"""Over which of them somebody is told; where the user has none, the application's stand in."""


def senders(
    mailer: Mailer, webhooks: WebhookSender, networks: Networks, public_url: str | None = None
) -> Senders:
    """How mails and webhook calls leave. public_url: of the gateway, for links in mails."""

    def mail(notice: Notice) -> str:
        if notice.reason == "digest":
            return mailer.send(compose_digest(notice, networks.of, public_url))
        return mailer.send(compose_mail(notice, networks.of(notice.ip), public_url))

    def call(notice: Notice) -> str:
        return webhooks.send(compose_delivery(notice))

    return {"email": mail, "other_email": mail, "webhook": call}
