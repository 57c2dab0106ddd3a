"""The keys that each tenant has, and what is made with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from services.domain.device_cookie import make_cookie, workflow_of
from services.ledger.labels import pseudonym
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "intake.sql").items()}


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """One tenant's."""

    _pseudonym_key: UUID
    _cookie_key: UUID

    def pseudonym(self, user_id: str) -> str:
        """The name of a user for monitors, which does not say who it is."""
        return pseudonym(self._pseudonym_key, user_id)

    def make_cookie(self, workflow_id: UUID) -> str:
        """The cookie for the device of a workflow's login."""
        return make_cookie(self._cookie_key, workflow_id)

    def cookie_id(self, cookie: str | None) -> UUID | None:
        """The workflow in whose answer a cookie was given; None when this tenant's was not."""
        return None if cookie is None else workflow_of(self._cookie_key, cookie)


class KeyChain:
    """The keys of tenants, read once: they never change."""

    def __init__(self) -> None:
        self._keys: dict[str, TenantKeys] = {}

    def of(
        self, connection: psycopg.Connection[Any], tenant_ids: Collection[str]
    ) -> dict[str, TenantKeys]:
        """The keys by tenant."""
        unknown = set(tenant_ids) - self._keys.keys()
        if unknown:
            rows = connection.execute(_SQL["tenant_keys"], {"tenants": list(unknown)})
            self._keys.update({row[0]: TenantKeys(*row[1:]) for row in rows})
        return {tenant: self._keys[tenant] for tenant in tenant_ids}
