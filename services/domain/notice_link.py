"""What a link in a notice carries: which notice, what is to be done, until when; signed."""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

LinkAct = Literal["confirm", "disown", "unsubscribe"]
"""confirm: this was me. disown: it was not, and the account is to be secured. unsubscribe: no more such mails."""

LIFETIMES: dict[LinkAct, timedelta] = {
    "confirm": timedelta(days=7),
    "disown": timedelta(days=7),
    # Who finds an old mail in the way is to get rid of the next ones.
    "unsubscribe": timedelta(days=365),
}

_LETTERS: dict[LinkAct, bytes] = {"confirm": b"c", "disown": b"d", "unsubscribe": b"u"}
_ACTS = {letter: act for act, letter in _LETTERS.items()}
_VERSION = "n1"
_TOKEN = re.compile(rf"{_VERSION}\.([\w-]{{28}})\.([\w-]{{22}})", re.ASCII)
_PURPOSE = b"doorbell notice link\0"
_FIELDS = struct.Struct(">c16sI")


@dataclass(frozen=True, slots=True)
class NoticeLink:
    """A link as somebody has sent it: nobody may have signed it."""

    notice_id: UUID
    act: LinkAct
    expires_at: datetime
    signature: bytes

    def is_signed_with(self, key: UUID) -> bool:
        """Whether it was made with this key; takes as long for every wrong one."""
        payload = _pack(self.notice_id, self.act, self.expires_at)
        return hmac.compare_digest(_sign(key, payload), self.signature)


def make_token(key: UUID, notice_id: UUID, act: LinkAct, recorded_at: datetime) -> str:
    """The token of a notice's link; the same each time, and good from when the notice was recorded on.

    54 ASCII characters of which none needs quoting in a URL's query. `key` is the
    tenant's; the signature is HMAC-SHA256 (RFC 2104), cut to 128 bits.
    """
    payload = _pack(notice_id, act, recorded_at + LIFETIMES[act])
    return f"{_VERSION}.{_text(payload)}.{_text(_sign(key, payload))}"


def read_token(token: str) -> NoticeLink | None:
    """What a token says; None: it is none of ours, whoever would have signed it."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    letter, notice_id, expires_at = _FIELDS.unpack(_bytes(found[1]))
    signature = _bytes(found[2])
    # The last of its characters says less than it could: others in its place would stand for the same signature.
    if letter not in _ACTS or _text(signature) != found[2]:
        return None
    return NoticeLink(
        UUID(bytes=notice_id),
        _ACTS[letter],
        datetime.fromtimestamp(expires_at, UTC),
        signature,
    )


def _pack(notice_id: UUID, act: LinkAct, expires_at: datetime) -> bytes:
    return _FIELDS.pack(_LETTERS[act], notice_id.bytes, int(expires_at.timestamp()))


def _sign(key: UUID, payload: bytes) -> bytes:
    return hmac.digest(key.bytes, _PURPOSE + payload, hashlib.sha256)[:16]


def _text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(f"{text}==")
