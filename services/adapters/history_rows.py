"""Logins of before, as an import applies them, on a PostgreSQL connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from services.adapters.rows import Rows
from services.domain.model import DeviceCheck, Login
from services.domain.network import Network


class PostgresHistory(Rows):
    """Implements `services.handlers.history_ports.HistoryRows`."""

    def take_history(
        self, import_id: UUID, keys: tuple[int, int], most: int
    ) -> tuple[Sequence[Login], int]:
        first, last = keys
        rows = self._run("take_history", import_id=import_id, first=first, last=last, most=most)
        accepted = [row for row in rows if row.pop("is_accepted")]
        return [Login(**row, history=True) for row in accepted], len(rows) - len(accepted)

    def save_history(self, checks: Sequence[DeviceCheck], networks: Mapping[UUID, Network]) -> None:
        where = [networks[check.workflow_id] for check in checks]
        self._run(
            "save_history",
            workflow_ids=[check.workflow_id for check in checks],
            device_ids=[check.device_id for check in checks],
            new_device=[check.is_new for check in checks],
            countries=[network.country for network in where],
            asns=[network.asn for network in where],
            providers=[network.provider for network in where],
        )

    def note_history(
        self, import_id: UUID, bucket: int, accepted: Sequence[UUID], known: int
    ) -> None:
        self._run(
            "note_history",
            import_id=import_id,
            bucket=bucket,
            accepted=len(accepted),
            known=known,
            workflow_ids=list(accepted) or None,
        )

    def unlearned_history(
        self, import_id: UUID, first: int, last: int
    ) -> Mapping[int, Sequence[UUID]]:
        rows = self._run("unlearned_history", import_id=import_id, first=first, last=last)
        return {row["id"]: row["workflow_ids"] for row in rows}

    def note_learned_history(self, part: int) -> None:
        self._run("note_learned_history", part=part)

    def sum_up_history(self, import_id: UUID) -> tuple[int, int]:
        [row] = self._run("sum_up_history", import_id=import_id)
        return row["accepted"], row["known"]
