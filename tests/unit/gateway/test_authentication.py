"""API keys: their form, and for how long a lookup is believed."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from starlette.requests import Request

from services.gateway.authentication import CACHE_SECONDS, KeyRing, digest_of_key
from services.gateway.problems import Problem
from services.gateway.rates import Caller


class Rows:
    """Answers every query with one row, or none."""

    def __init__(self, row: tuple[str, None] | None) -> None:
        self.row = row

    def execute(self, _: bytes, __: dict[str, Any]) -> Rows:
        return self

    def fetchone(self) -> tuple[str, None] | None:
        return self.row


def request(authorization: str | None) -> Request:
    headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize("value", ["Bearer k-1", "bearer k-1", "BEARER  k-1"])
def test_a_bearer_key_gives_its_digest(value: str) -> None:
    """The scheme is compared without regard to case; the key itself is never kept."""
    assert digest_of_key(request(value)) == hashlib.sha256(b"k-1").digest()


@pytest.mark.parametrize(
    "value",
    [
        None,
        "k-1",
        "Bearer",
        "Bearer ",
        "Basic azpr",
        "Bearer a b",
        "Bearer \xe9",
        "Bearer " + "k" * 201,
    ],
)
def test_anything_else_is_401(value: str | None) -> None:
    """A request without a possible key is told how to send one."""
    with pytest.raises(Problem, match="Authorization: Bearer") as caught:
        digest_of_key(request(value))
    assert caught.value.status == 401
    assert "WWW-Authenticate" in caught.value.headers


def test_a_found_key_is_believed_for_a_moment_only() -> None:
    """A revoked key stops working within ten seconds."""
    now = 100.0
    ring = KeyRing(lambda: now)
    rows: Any = Rows(("acme", None))
    assert ring.cached(b"d") is None
    assert ring.look_up(rows, b"d") == Caller("acme")
    now += CACHE_SECONDS - 0.1
    assert ring.cached(b"d") == Caller("acme")
    now += 0.1
    assert ring.cached(b"d") is None


def test_a_wrong_key_is_not_remembered() -> None:
    """A key that is created later works at once, and guesses take no room."""
    ring = KeyRing(lambda: 0.0)
    rows: Any = Rows(None)
    assert ring.look_up(rows, b"d") is None
    rows.row = ("acme", None)
    assert ring.look_up(rows, b"d") == Caller("acme")
