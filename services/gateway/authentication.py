"""Which tenant a request speaks for."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any

import psycopg
from fastapi import Request

from services.gateway.problems import Problem
from services.gateway.rates import Caller, Shares
from services.queries import load_queries

CACHE_SECONDS = 10.0
"""A revoked key works for at most so long."""
_CACHE_SIZE = 10_000
_SQL = {name: text.encode() for name, text in load_queries(__package__, "intake.sql").items()}
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class KeyRing:
    """API keys by their digest, each looked up at most once in ten seconds.

    Wrong keys are not kept, so that guessing them cannot push the right ones out.
    Look-ups need not take constant time: what is compared is a SHA-256 digest, and
    how much of a digest fits tells nothing about the key that would fit better.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares = Shares()
        self._known: dict[bytes, tuple[Caller, float]] = {}

    def cached(self, digest: bytes) -> Caller | None:
        """Who calls, if the key was looked up a moment ago."""
        caller, expires_at = self._known.get(digest, (None, 0.0))
        return caller if self._clock() < expires_at else None

    def look_up(self, connection: psycopg.Connection[Any], digest: bytes) -> Caller | None:
        """Who calls by the database; None: there is no such key."""
        row = connection.execute(_SQL["tenant_of_key"], {"digest": digest}).fetchone()
        if row is None:
            self._known.pop(digest, None)
            return None
        tenant, per_second = row
        caller = Caller(tenant, self._shares.of(connection, tenant, per_second))
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[digest] = (caller, self._clock() + CACHE_SECONDS)
        return caller


def digest_of_key(request: Request) -> bytes:
    """The digest of the key that `request` carries.

    Raises:
        Problem: 401 when it carries none or one that cannot be a key.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _KEY.fullmatch(key.strip()):
        raise unauthorized("send the header Authorization: Bearer <API key>")
    return hashlib.sha256(key.strip().encode()).digest()


def unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="doorbell"'})
