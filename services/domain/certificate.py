"""The signed certificate of an erasure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

_PURPOSE = b"doorbell erasure certificate\0"
_ALGORITHM = "hmac-sha256"


def signed(key: UUID, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with their `signature`: HMAC-SHA256 (RFC 2104) over all of them.

    `key` is the tenant's; whoever has not got it can neither change a certificate unseen nor
    make one. The order of keys and the spaces between them do not count, so that it may be
    kept and sent as any JSON.
    """
    return {**facts, "signature": f"{_ALGORITHM}:{_sign(key, facts)}"}


def is_genuine(key: UUID, certificate: Mapping[str, Any]) -> bool:
    """Whether it stands as it was signed with this key."""
    facts = {name: value for name, value in certificate.items() if name != "signature"}
    expected = f"{_ALGORITHM}:{_sign(key, facts)}"
    return hmac.compare_digest(
        expected.encode(), str(certificate.get("signature")).encode(errors="replace")
    )


def _sign(key: UUID, facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hmac.new(key.bytes, _PURPOSE + text.encode(), hashlib.sha256).hexdigest()
