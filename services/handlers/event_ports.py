"""What applications are told of, and where that is kept until they have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ApplicationEvent:
    """What an application is to hear, claimed for its n-th attempt.

    event_id: of the login, as the application reported it; None: it is about none.
    data: JSON, what it says beside whom and which login it is about.
    """

    id: UUID
    type: str
    user_id: str | None
    workflow_id: UUID | None
    event_id: str | None
    data: Mapping[str, Any]
    attempts: int
    recorded_at: datetime
    webhook_url: str | None
    webhook_secret: str | None


class EventStore(Protocol):
    """Events inside one PostgreSQL transaction."""

    def claim_events(
        self, tenant_id: str, turn: int, most: int, lease_seconds: float
    ) -> Sequence[ApplicationEvent]:
        """Take what is due, what was tried least first; nobody else takes it before the lease is over.

        Of a receiver that has not answered the last time it is one; nothing when it is somebody else's turn.
        """
        ...

    def end_event(self, event_id: UUID, state: Literal["sent", "given_up"], answer: str) -> None:
        """Never try it again."""
        ...

    def put_off_event(self, event: ApplicationEvent, answer: str) -> bool:
        """Try it again later, later each time, for three days; false: those are over, and it is given up."""
        ...

    def leave_receiver(self, tenant_id: str, turn: int, *, has_answered: bool | None) -> None:
        """These calls are over; who has not answered is left alone for a while, longer each time.

        has_answered: None when nobody was called.
        """
        ...


BeginEvents = Callable[[], AbstractContextManager[EventStore]]
"""Opens a short transaction: commits at the end of the block, rolls back on an error."""
