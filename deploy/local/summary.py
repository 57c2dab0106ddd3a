"""What a replay caused, counted in the database, as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deploy.local.layout import Layout
from deploy.local.tenant import TENANT
from services.queries import load_queries

_LEVELS = ("low", "medium", "high", "unscored")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the workflows of a replay are; done, failed and dead exclude each other."""

    accepted: int
    done: int
    failed: int
    dead: int

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.dead


class Ledger:
    """Reads what became of the logins with some event ids."""

    def __init__(self, connection: psycopg.Connection[Any], events: Sequence[str]) -> None:
        self._connection = connection
        self._queries = load_queries("deploy.local", "summary.sql")
        self._parameters = {"tenant": TENANT, "events": list(events)}

    def progress(self) -> Progress:
        """Count the workflows by state."""
        return Progress(**self._rows("progress")[0])

    def outcome(self) -> dict[str, Any]:
        """Count the effects, and measure from the door to the verdict."""
        return self._rows("outcome")[0]

    def levels(self) -> dict[str, int]:
        """Count the verdicts by level."""
        counts = {row["level"]: row["verdicts"] for row in self._rows("levels")}
        return {level: counts.get(level, 0) for level in _LEVELS}

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._queries[query].encode(), self._parameters).fetchall()


def what_happened(progress: Progress, outcome: Mapping[str, Any], levels: Mapping[str, int]) -> str:
    """The figures of a replay, one a line."""
    seconds = outcome["seconds"]
    rate = f"{outcome['verdicts'] / seconds:,.0f} logins a second" if seconds else "-"
    open_notices = f", {outcome['notices_open']:,} on their way" if outcome["notices_open"] else ""
    rows = (
        ("accepted", f"{progress.accepted:,}"),
        ("done", f"{progress.done:,}"),
        ("failed", f"{progress.failed:,}"),
        ("dead", f"{progress.dead:,}"),
        ("new devices", f"{outcome['new_devices']:,}"),
        ("notices sent", f"{outcome['notices_sent']:,}{open_notices}"),
        ("verdicts", ", ".join(f"{count:,} {level}" for level, count in levels.items())),
        ("switches flipped", f"{outcome['switches_flipped']:,}"),
        ("throughput", f"{rate}, first accepted to last verdict"),
        (
            "door to verdict",
            f"p50 {_duration(outcome['p50_seconds'])}, p99 {_duration(outcome['p99_seconds'])}",
        ),
    )
    return "\n".join(f"  {name:<17} {value}" for name, value in rows)


def where_to_look(
    layout: Layout, endpoints: Mapping[str, str], user_id: str, workflow_id: str
) -> str:
    """Addresses and commands, one a line."""
    ask = f'curl -H "Authorization: Bearer $(cat {layout.secrets}/api_key)"'
    rows = (
        ("API, with its docs", f"{endpoints['gateway']}/docs"),
        ("Flower", endpoints["flower"]),
        ("Flower, to look", endpoints["flower_viewers"]),
        ("RabbitMQ", endpoints["rabbitmq_management"]),
        ("Prometheus", endpoints["prometheus"]),
        ("Alertmanager", endpoints["alertmanager"]),
        ("outlier API", f"{endpoints['outlier_api']}/docs"),
        ("mails", endpoints["mail_directory"]),
        ("credentials", f"{layout.endpoints} (API key, passwords, addresses)"),
        ("logs", str(layout.logs)),
        ("one login's way", f".venv/bin/doorbell trace {workflow_id}"),
        ("one user's logins", f"{ask} '{endpoints['gateway']}/v1/workflows?user_id={user_id}'"),
        ("processes", "make status, make down"),
    )
    return "\n".join(f"  {name:<19} {value}" for name, value in rows)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
