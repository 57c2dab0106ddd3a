"""How many requests a second a tenant may make."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from services.queries import load_queries

BURST_SECONDS = 5.0
"""So many seconds' worth a tenant that was quiet may send at once."""

SEEN_SECONDS = 25.0
"""A gateway that has looked a limited tenant's keys up within so long has a share of the limit."""

_SQL = {name: text.encode() for name, text in load_queries(__package__, "intake.sql").items()}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request carries. per_second: this gateway's share of the tenant's limit; None: there is none."""

    tenant: str
    per_second: float | None = None


class Shares:
    """Divides limits among the gateways that a tenant's requests come to."""

    def __init__(self, gateway: UUID | None = None) -> None:
        self._gateway = gateway or uuid4()

    def of(
        self, connection: psycopg.Connection[Any], tenant: str, per_second: float | None
    ) -> float | None:
        """This gateway's share, which it is noted to have; the whole where nothing can be written."""
        if per_second is None:
            return None
        values = {"tenant": tenant, "gateway": self._gateway, "seconds": SEEN_SECONDS}
        try:
            with connection.transaction():
                # A key is looked up before each read: none is to wait for a standby because of this.
                connection.execute(b"SET LOCAL synchronous_commit = off")
                connection.execute(_SQL["note_gateway"], values)
                row = connection.execute(_SQL["gateways_of_tenant"], values).fetchone()
        except psycopg.errors.ReadOnlySqlTransaction:
            return per_second
        return per_second / max(1, row[0] if row else 1)


class Rates:
    """Counts what tenants ask for, by the generic cell rate algorithm: one moment per tenant (ITU-T I.371, 1992).

    What is more than the limit puts the moment off, so that a batch may be as large as any: what follows it waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, tuple[float, float]] = {}
        """Until when a tenant's requests are paid for, and at which rate."""

    def take(self, caller: Caller) -> float:
        """Count one request; in how many seconds to come again if it is too much, and is not counted. 0: it is not."""
        if caller.per_second is None:
            self._accounts.pop(caller.tenant, None)
            return 0.0
        wait = self._debt(caller.tenant, caller.per_second) - BURST_SECONDS
        if wait > 0:
            return wait
        self.charge(caller, 1)
        return 0.0

    def charge(self, caller: Caller, requests: int) -> None:
        """Count requests that are let through."""
        if (rate := caller.per_second) is not None:
            debt = self._debt(caller.tenant, rate) + requests / rate
            self._accounts[caller.tenant] = (self._clock() + debt, rate)

    def _debt(self, tenant: str, rate: float) -> float:
        """What a tenant owes, in seconds at this rate: what was owed at another is owed in requests."""
        now = self._clock()
        paid_until, before = self._accounts.get(tenant, (now, rate))
        return max(0.0, paid_until - now) * before / rate
