"""Where logins of before wait until they are applied, and what of them the outlier API has to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from services.domain.model import DeviceCheck, Login
from services.domain.network import Network


class HistoryRows(Protocol):
    """Imports inside one PostgreSQL transaction."""

    def take_history(
        self, import_id: UUID, keys: tuple[int, int], most: int
    ) -> tuple[Sequence[Login], int]:
        """Take the next logins of users with these keys out of an import, and store them as reported, each event once.

        keys: the lowest and the highest. Returns those that were stored, a user's in the order
        of their times, and how many had been reported before.
        """
        ...

    def save_history(self, checks: Sequence[DeviceCheck], networks: Mapping[UUID, Network]) -> None:
        """Store logins, which this transaction has taken, with their checks and what is known of their networks."""
        ...

    def note_history(
        self, import_id: UUID, bucket: int, accepted: Sequence[UUID], known: int
    ) -> None:
        """Note a slice as applied, of which the outlier API has to learn what was accepted, in this order."""
        ...

    def unlearned_history(
        self, import_id: UUID, first: int, last: int
    ) -> Mapping[int, Sequence[UUID]]:
        """Workflows of the applied slices of these buckets that the outlier API has not learned, in order."""
        ...

    def note_learned_history(self, part: int) -> None:
        """The outlier API has learned an applied slice."""
        ...

    def sum_up_history(self, import_id: UUID) -> tuple[int, int]:
        """How many logins of an import were accepted, and how many had been reported before."""
        ...
