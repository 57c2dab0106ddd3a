"""What is left outside after a run: the ledger's rows, the mails, the calls received, the queues."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from services.queries import load_queries
from tests.chaos.broker_state import Broker
from tests.chaos.load import Report
from tests.chaos.receivers import Call
from tests.chaos.supervisor import Disturbance

Row = dict[str, Any]

_SQL = {name: text.encode() for name, text in load_queries(__package__, "oracle.sql").items()}
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look; nothing here depends on how the system was started.

    transport: makes what leads to the gateways where a URL alone does not.
    """

    gateway_url: str
    api_key: str
    database_url: str
    broker: Broker
    maildir: Path
    transport: Callable[[], httpx.BaseTransport] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run as its application and its surroundings saw it.

    reports: every login that was reported. api_calls, webhook_calls: give what was
    received, and are asked when all has ended. disturbances: what was done to which part and when; repeated calls
    are excused by them alone. api_may_fail: the outlier API was away for a while.
    may_hold_off: the gateway may have answered 503. is_told_of_all: the application is to hear of each verdict and
    switch.
    """

    places: Places
    reports: Sequence[Report]
    api_calls: Callable[[], Sequence[Call]]
    webhook_calls: Callable[[], Sequence[Call]]
    disturbances: Sequence[Disturbance]
    api_may_fail: bool = False
    may_hold_off: bool = False
    is_told_of_all: bool = True

    @property
    def accepted(self) -> dict[str, Report]:
        """The accepted logins by their workflows' ids."""
        return {r.workflow_id: r for r in self.reports if r.workflow_id is not None}


@dataclass(frozen=True, slots=True)
class Mail:
    """One file in the Maildir. `at` is when it was written, in seconds since 1970."""

    at: float
    message_id: str
    recipient: str


class Ledger:
    """The rows about one run's logins."""

    def __init__(self, evidence: Evidence) -> None:
        events = [report.event_id for report in evidence.reports]
        users = sorted({report.user_id for report in evidence.reports})
        with psycopg.connect(
            evidence.places.database_url, row_factory=dict_row, connect_timeout=10
        ) as connection:

            def rows(name: str, **values: Any) -> list[Row]:
                return connection.execute(_SQL[name], values).fetchall()

            self.workflows = rows("workflows", events=events)
            ids = [workflow["id"] for workflow in self.workflows]
            self.steps: defaultdict[str, list[Row]] = defaultdict(list)
            for step in rows("steps", workflows=ids):
                self.steps[step["workflow_id"]].append(step)
            self.logins = [row["workflow_id"] for row in rows("logins", workflows=ids)]
            self.verdicts = {
                row["workflow_id"]: row["level"] for row in rows("verdicts", workflows=ids)
            }
            self.devices = {row["user_id"]: row for row in rows("devices", users=users)}
            self.notices = rows("notices", workflows=ids)
            self.events = rows("application_events", workflows=ids)
            self.switch_changes = rows("switch_changes", users=users)
            self.failures = rows("failures", workflows=ids)

    @property
    def all_steps(self) -> list[Row]:
        return [step for steps in self.steps.values() for step in steps]


def wait_until_ended(evidence: Evidence, seconds: float) -> bool:
    """Wait until every accepted login's workflow has ended, and the application was told; false when not in time."""
    deadline = time.monotonic() + seconds
    events = [r.event_id for r in evidence.reports if r.workflow_id is not None]
    url = evidence.places.database_url
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        while time.monotonic() < deadline:
            rows = [
                connection.execute(_SQL[name], {"events": events}).fetchone()
                for name in ("unfinished", *(["untold"] if evidence.is_told_of_all else []))
            ]
            if all(row is not None and row[0] == 0 for row in rows):
                return True
            time.sleep(_POLL_SECONDS)
    return False


def mails(maildir: Path, users: set[str]) -> list[Mail]:
    """The mails that are for these users, oldest first."""
    parser = BytesHeaderParser()
    found = []
    for path in [*maildir.glob("new/*"), *maildir.glob("cur/*")]:
        with path.open("rb") as file:
            head = parser.parse(file)
        if str(head["To"]).partition("@")[0].rpartition("<")[2] in users:
            found.append(
                Mail(path.stat().st_mtime, str(head["Message-ID"]).strip(), str(head["To"]))
            )
    return sorted(found, key=lambda mail: mail.at)


def told_states(places: Places, workflow_ids: Sequence[str]) -> dict[str, str]:
    """The states of workflows as the gateway tells them."""
    with httpx.Client(
        base_url=places.gateway_url,
        headers={"Authorization": f"Bearer {places.api_key}"},
        timeout=30,
        transport=places.transport() if places.transport else None,
        trust_env=False,
    ) as client:
        answers = {w: client.get(f"/v1/workflows/{w}") for w in workflow_ids}
    return {
        w: str(answer.json()["state"])
        if answer.status_code == 200
        else f"HTTP {answer.status_code}"
        for w, answer in answers.items()
    }
