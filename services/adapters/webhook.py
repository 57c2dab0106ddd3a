"""Webhook calls to applications: signed, and never into private networks unless allowed by name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection
from functools import partial

from urllib3.util import parse_url

from services.adapters.http_client import TRY_AGAIN, HttpClient
from services.adapters.public_addresses import checked_addresses
from services.domain.errors import Refused, Unavailable
from services.handlers.ports import Clock
from services.handlers.records import Delivery

OVERALL_SECONDS = 12.0
"""Below the lease of a notice, so that nobody else takes it up during the call."""

_LONGEST_ANSWER = 64 * 1024
_BASE64_FOLLOWS = "whsec_"


class HttpWebhookSender:
    """Implements `services.handlers.ports.WebhookSender`.

    Headers follow the Standard Webhooks specification: `webhook-id`,
    `webhook-timestamp` and `webhook-signature`; `Idempotency-Key` repeats the id.
    """

    def __init__(self, allowed_private_hosts: Collection[str], clock: Clock) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_private_hosts)
        self._clock = clock
        self._client = HttpClient(
            OVERALL_SECONDS, partial(checked_addresses, allowed=self._allowed)
        )

    def send(self, delivery: Delivery) -> str:
        self._refuse_plain(delivery.url)
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "webhook-id": delivery.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(delivery, timestamp),
            "Idempotency-Key": delivery.id,
            "User-Agent": "doorbell",
        }
        answer = self._client.post(delivery.url, delivery.body, headers, _LONGEST_ANSWER)
        if 200 <= answer.status < 300:
            return f"HTTP {answer.status}"
        if answer.status >= 500 or answer.status in TRY_AGAIN:
            raise Unavailable(f"the webhook answered {answer.status}")
        raise Refused(f"the webhook answered {answer.status}")

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()

    def _refuse_plain(self, url: str) -> None:
        try:
            # As the client reads it: two readings of one URL are how a check is passed by.
            target = parse_url(url)
        except ValueError as error:
            raise Refused("webhook_url is not a URL") from error
        host = (target.host or "").strip("[]")
        if not host or target.scheme not in ("http", "https"):
            raise Refused("webhook_url must be https://host/path")
        if target.scheme == "http" and host not in self._allowed:
            raise Refused(
                f"webhook_url must start with https://, for it carries personal data; only hosts that"
                f" DOORBELL_ALLOWED_PRIVATE_HOSTS names are called by http://, and {host} is none"
            )


def signature(delivery: Delivery, timestamp: str) -> str:
    """HMAC-SHA256 over id, timestamp and body, as receivers compute it."""
    signed = b".".join([delivery.id.encode(), timestamp.encode(), delivery.body])
    digest = hmac.new(_key(delivery.secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    if not secret.startswith(_BASE64_FOLLOWS):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_BASE64_FOLLOWS), validate=True)
    except binascii.Error as error:
        raise Refused("webhook_secret starts with whsec_ but is not base64 after it") from error
    if not key:
        raise Refused("webhook_secret ends after whsec_: anybody could sign with an empty key")
    return key
