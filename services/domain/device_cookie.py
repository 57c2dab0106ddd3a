"""The long-lived cookie by which a device is known again: the id of the login it was given to, signed."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

_VERSION = "d1"
_COOKIE = re.compile(rf"{_VERSION}\.([\w-]{{22}})\.([\w-]{{22}})", re.ASCII)
_PURPOSE = b"doorbell device cookie\0"


def make_cookie(key: UUID, workflow_id: UUID) -> str:
    """The cookie for the device that a workflow's login came from; the same each time.

    48 ASCII characters of which none needs quoting in a cookie (RFC 6265). `key` is
    the tenant's; the signature is HMAC-SHA256 (RFC 2104), cut to 128 bits.
    """
    return f"{_VERSION}.{_text(workflow_id.bytes)}.{_text(_sign(key, workflow_id))}"


def workflow_of(key: UUID, cookie: str) -> UUID | None:
    """The workflow in whose answer a cookie was given; None: nobody gave it who has this key."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return None
    workflow_id = UUID(bytes=_bytes(found[1]))
    is_ours = hmac.compare_digest(make_cookie(key, workflow_id).encode(), cookie.encode())
    return workflow_id if is_ours else None


def _sign(key: UUID, workflow_id: UUID) -> bytes:
    return hmac.digest(key.bytes, _PURPOSE + workflow_id.bytes, hashlib.sha256)[:16]


def _text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(f"{text}==")
