"""A certificate stands or falls with every fact in it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

import pytest

from services.domain.certificate import is_genuine, signed

KEY, OTHER_KEY = UUID(int=7), UUID(int=8)
FACTS: dict[str, Any] = {
    "erasure_id": "0c6f1c3e",
    "places": [{"place": "login", "deleted": 2, "left": 0}],
    "asked_by": "Zoë@desk",
}


def test_it_is_verified_as_any_json_that_says_the_same() -> None:
    """The order of its keys and its spaces do not count."""
    certificate = signed(KEY, FACTS)
    assert {**FACTS, "signature": certificate["signature"]} == certificate
    again = json.loads(json.dumps(dict(reversed(certificate.items())), indent=4))
    assert is_genuine(KEY, again)


def test_anybody_with_the_key_can_compute_it() -> None:
    """HMAC-SHA256 over the purpose and the facts as JSON with sorted keys."""
    text = (
        '{"asked_by":"Zo\\u00eb@desk","erasure_id":"0c6f1c3e",'
        '"places":[{"deleted":2,"left":0,"place":"login"}]}'
    )
    expected = hmac.new(
        KEY.bytes, b"doorbell erasure certificate\0" + text.encode(), hashlib.sha256
    )
    assert signed(KEY, FACTS)["signature"] == f"hmac-sha256:{expected.hexdigest()}"


@pytest.mark.parametrize(
    "change",
    [
        {"erasure_id": "another"},
        {"places": [{"place": "login", "deleted": 3, "left": 0}]},
        {"more": None},
        {"signature": "hmac-sha256:" + 64 * "0"},
        {"signature": None},
        {"signature": "\ud800"},
    ],
)
def test_what_was_changed_is_not_genuine(change: dict[str, Any]) -> None:
    """A fact more, less or other; and a signature that is none."""
    certificate = signed(KEY, FACTS)
    assert not is_genuine(KEY, certificate | change)
    assert not is_genuine(KEY, {**FACTS, "places": []} | {"signature": certificate["signature"]})
    assert not is_genuine(OTHER_KEY, certificate)
