"""Names users for monitors without saying who they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from services.domain.model import Login
from services.ledger.labels import pseudonym
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "intake.sql").items()}


class Pseudonyms:
    """Pseudonyms by the key that each tenant has, read once: it never changes."""

    def __init__(self) -> None:
        self._keys: dict[str, UUID] = {}

    def of(self, connection: psycopg.Connection[Any], logins: Sequence[Login]) -> list[str]:
        """The pseudonyms of the users who logged in, in order."""
        unknown = {login.tenant_id for login in logins} - self._keys.keys()
        if unknown:
            rows = connection.execute(_SQL["pseudonym_keys"], {"tenants": list(unknown)})
            self._keys.update(rows.fetchall())
        return [pseudonym(self._keys[login.tenant_id], login.user_id) for login in logins]
