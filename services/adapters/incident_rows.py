"""Users of an incident, whose switches are turned on and back, on a PostgreSQL connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from services.adapters.rows import Rows
from services.domain.incident import Slice
from services.domain.policy import stored_policy
from services.handlers.records import Incident

_WHOSE = ("tenant_ids", "user_ids")


class PostgresIncidents(Rows):
    """Implements that part of `services.handlers.ports.Transaction`."""

    def join_incident(self, incident_id: UUID) -> Incident | None:
        self._run("join_incident", id=incident_id)
        # A statement of its own: its snapshot sees what the lock was waited for.
        return self.incident(incident_id)

    def incident(self, incident_id: UUID) -> Incident | None:
        rows = self._run("incident", id=incident_id)
        if not rows:
            return None
        return Incident(**(rows[0] | {"policy": stored_policy(rows[0]["policy"])}))

    def take_users(self, users: Slice) -> Sequence[str]:
        rows = self._run("take_users", **asdict(users))
        whose: dict[str, Any] = {name: [row[name[:-1]] for row in rows] for name in _WHOSE}
        if rows:
            self._run("expire_switches", **whose)
        return [row["user_id"] for row in rows]

    def switch_on(self, users: Slice, spared: Collection[str]) -> int:
        outcomes = self._run("switch_on", **asdict(users), spared=list(spared))
        return sum(row["outcome"] == "switched" for row in outcomes)

    def take_untold(self, users: Slice) -> Sequence[UUID]:
        return [row["workflow_id"] for row in self._run("take_untold", **asdict(users))]

    def switch_back(self, users: Slice) -> int:
        outcomes = self._run("switch_back", **asdict(users))
        return sum(row["outcome"] == "undone" for row in outcomes)
