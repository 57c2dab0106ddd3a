"""What the API answers about incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class IncidentCounts(BaseModel):
    """How many users an incident is about, and what became of them; each is counted once below `users`."""

    users: int
    waiting: int = Field(description="Nothing was done about them yet, or ever if it is stopped.")
    switched: int = Field(description="Their switch was turned on for it.")
    prolonged: int = Field(description="It was on, and would have gone off earlier.")
    on_before: int = Field(description="It was on, and is left as it was.")
    never_locked: int = Field(description="The tenant's policy spares them.")
    unknown: int = Field(description="They were never seen.")
    undone: int = Field(description="What was done was taken back.")
    changed_since: int = Field(
        description="It was to be taken back, but somebody had changed the switch meanwhile."
    )
    notices: int = Field(description="Recorded for the users who are to be told.")
    notices_sent: int


class IncidentAnswer(BaseModel):
    """A switch that is turned on for many users, and how far that is. Failed: a part of it was given up."""

    incident_id: UUID
    state: Literal["running", "done", "failed", "stopped", "undoing", "undone", "undo_failed"]
    switch: Literal["require_step_up", "locked"]
    reason: str
    network: str | None
    asn: int | None
    country: str | None
    since: datetime | None
    expire_seconds: float | None
    users_per_second: float | None
    notices_onto: str | None = Field(
        description="The queue in which its notices wait; null: where all do."
    )
    begun_at: datetime
    stopped_at: datetime | None
    counts: IncidentCounts
    skipped: dict[str, list[str]] = Field(
        description="Some of the users for whom nothing was done, by the count that they are in."
    )


class ExpectedCounts(BaseModel):
    """What would become of how many users."""

    users: int
    waiting: int = Field(description="Their switch would be turned on.")
    prolonged: int
    on_before: int
    never_locked: int
    unknown: int


class ExpectedAnswer(BaseModel):
    """Whom an incident would be about: nothing was changed, and nobody is told."""

    dry_run: Literal[True]
    counts: ExpectedCounts
    unplaced: int = Field(
        description="So many others signed in since then, from which provider or country is not known (yet)."
    )
    first: list[str] = Field(description="Some of those whose switch would be turned on.")
    skipped: dict[str, list[str]]
