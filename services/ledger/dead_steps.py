"""Which steps are given up: by the ledger, and by what stands in the dead-letter queues."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from itertools import islice
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from services.ledger.dead_canvas import all_behind
from services.ledger.dead_letters import DeadLetters, Letter
from services.ledger.message import Message
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "dead.sql").items()}
_CHUNK = 1000
_RESULT_LENGTH = 2000
_ERROR_LENGTH = 300
GIVEN_UP = ("failed", "dead")
WAITING = ("ready", "retrying")

Row = dict[str, Any]


class GivenUpReason(StrEnum):
    """The ledger's words for why a step was given up; of letters that it knows nothing of, the broker's."""

    refused = auto()
    unavailable = auto()
    bug = auto()
    killed = auto()
    timeout = auto()
    unknown_task = auto()
    unreadable = auto()
    too_large = auto()
    revoked = auto()
    dropped = auto()
    unparkable = auto()
    expired = auto()
    ignored = auto()
    forgotten = auto()
    lost = auto()
    rejected = auto()
    delivery_limit = auto()
    unknown = auto()


def run(connection: Connection[Any], query: str, /, **values: Any) -> list[Row]:
    """The rows of a named query of dead.sql."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[query], values)
        return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True)
class Selection:
    """What an operator asks for; None: whatever it is. Ages are in seconds since a step was given up."""

    ids: tuple[str, ...] | None = None
    queues: tuple[str, ...] | None = None
    task: str | None = None
    reason: str | None = None
    user: str | None = None
    workflow: UUID | None = None
    older_than: float | None = None
    younger_than: float | None = None
    limit: int | None = None
    with_dropped: bool = False

    @property
    def is_of_the_ledger(self) -> bool:
        """Whether only steps that the ledger knows to be given up can be meant."""
        return self.user is not None or self.workflow is not None

    def takes(self, dead: Dead) -> bool:
        """Whether a step of which the ledger has not said so is selected."""
        wanted = (
            (self.ids, self.ids is not None and dead.id in self.ids),
            (self.queues, self.queues is not None and dead.queue in self.queues),
            (self.task, dead.task == self.task),
            (self.reason, dead.reason == self.reason),
            (self.user, dead.user_id == self.user),
            (self.workflow, dead.workflow_id == self.workflow),
            (self.older_than, _is_between(dead.given_up_at, None, self._moment(self.older_than))),
            (self.younger_than, _is_between(dead.given_up_at, self._moment(self.younger_than))),
        )
        return all(holds for given, holds in wanted if given is not None)

    def values(self) -> dict[str, Any]:
        """The parameters of the query `given_up`."""
        return {
            "ids": list(self.ids) if self.ids is not None else None,
            "with_dropped": self.with_dropped or self.ids is not None,
            "queues": list(self.queues) if self.queues is not None else None,
            "task": self.task,
            "reason": self.reason,
            "user": self.user,
            "workflow": self.workflow,
            "before": self._moment(self.older_than),
            "since": self._moment(self.younger_than),
            "limit": self.limit,
        }

    @staticmethod
    def _moment(age: float | None) -> datetime | None:
        return None if age is None else datetime.now(UTC) - timedelta(seconds=age)


@dataclass(slots=True)
class Dead:
    """One step, or message, that will not be tried again by itself.

    state: the ledger's word; `unknown` for a message of which it knows nothing.
    letters: its messages in the dead-letter queue, in our hands.
    """

    id: str
    queue: str | None
    task: str | None
    state: str
    reason: str | None
    given_up_at: datetime | None
    workflow_id: UUID | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    attempts: int = 0
    generation: int = 1
    dropped_at: datetime | None = None
    has_message: bool = False
    error: str | None = None
    letters: list[Letter] = field(default_factory=list)


@dataclass(slots=True)
class Survey:
    """What is selected, and the letters that are left over from steps which went on meanwhile.

    total: how many there are, also beyond the limit. not_shown: of those, what letters alone tell of.
    """

    dead: list[Dead]
    total: int
    stale: list[Letter] = field(default_factory=list)
    not_shown: set[str] = field(default_factory=set)


def select(connection: Connection[Any], selection: Selection) -> Survey:
    """The steps that the ledger knows to be given up, the oldest first."""
    rows = run(connection, "given_up", result_length=_RESULT_LENGTH, **selection.values())
    total = int(rows[0]["total"]) if rows else 0
    return Survey([_dead(row) for row in rows], total)


def look_into(
    connection: Connection[Any],
    letters: DeadLetters,
    queues: Iterable[str],
    selection: Selection,
    survey: Survey,
) -> None:
    """Complete a survey by what stands in these queues' dead-letter queues.

    Only the messages that a replay would need are kept in memory. The ledger
    is asked behind each of them, so that a letter is never taken for stale
    because of what the ledger said before it arrived.
    """
    known = {dead.id: dead for dead in survey.dead}
    for queue in queues:
        arriving = letters.read(queue)
        while chunk := list(islice(arriving, _CHUNK)):
            rows = states_of(connection, {letter.id for letter in chunk})
            connection.rollback()
            for letter in chunk:
                _sort_in(letter, rows.get(letter.id), known, selection, survey)


def states_of(connection: Connection[Any], step_ids: Iterable[str]) -> dict[str, Row]:
    """What the ledger knows of these steps, by their ids."""
    return {row["id"]: row for row in run(connection, "states", ids=sorted(step_ids))}


def workflow_state(connection: Connection[Any], workflow_id: UUID) -> tuple[str, int] | None:
    """A workflow's state and how many of its steps are given up; None: there is no such workflow."""
    rows = run(connection, "workflow_states", id=workflow_id)
    return (rows[0]["state"], int(rows[0]["given_up"])) if rows else None


def is_stale(letter: Letter, row: Row | None) -> bool:
    """Whether a letter's step is done, dropped, or under way in a younger generation than the letter's."""
    if row is None:
        return False
    if row["state"] in GIVEN_UP:
        return row["dropped_at"] is not None
    younger = letter.generation < row["generation"]
    return bool(row["state"] == "done" or (younger and row["has_message"]))


def _sort_in(
    letter: Letter, row: Row | None, known: dict[str, Dead], selection: Selection, survey: Survey
) -> None:
    if letter.id in known:
        known[letter.id].letters.append(letter)
        return
    if is_stale(letter, row):
        letter.message, letter.body = None, b""
        survey.stale.append(letter)
        return
    if row is not None and row["state"] in GIVEN_UP:
        return  # the ledger was asked before, and did not select it
    dead = _of_letter(letter, row)
    if not selection.takes(dead):
        return
    if dead.id in survey.not_shown:
        return
    survey.total += 1
    if selection.limit is None or len(survey.dead) < selection.limit:
        survey.dead.append(dead)
        known[dead.id] = dead
    else:
        survey.not_shown.add(dead.id)


def _dead(row: Row) -> Dead:
    fields = {key: value for key, value in row.items() if key not in ("result", "total")}
    return Dead(**fields, error=error_text(row["result"]))


def _of_letter(letter: Letter, row: Row | None) -> Dead:
    row = row or {}
    return Dead(
        id=letter.id,
        queue=letter.queue,
        task=letter.task or row.get("task"),
        state=row.get("state") or "unknown",
        reason="unreadable" if letter.unreadable else letter.cause,
        given_up_at=letter.died_at,
        workflow_id=row.get("workflow_id"),
        tenant_id=row.get("tenant_id"),
        user_id=row.get("user_id"),
        attempts=row.get("attempts") or 0,
        generation=row.get("generation") or letter.generation,
        has_message=bool(row.get("has_message")),
        error=letter.unreadable,
        letters=[letter],
    )


def error_text(result: str | None) -> str | None:
    """The exception in a step's result as one line; a result that was cut off is shown as it begins."""
    if result is None:
        return None
    try:
        value = json.loads(result)
        told = value["exc_message"]
        message = " ".join(map(str, told)) if isinstance(told, list | tuple) else str(told)
        text = f"{value['exc_type']}: {message}"
    except (ValueError, KeyError, TypeError):
        text = result
    return " ".join(text.split())[:_ERROR_LENGTH]


def whole(connection: Connection[Any], step_id: str) -> Row | None:
    """One step with all that is kept of it: blocked steps behind it and what operators did included."""
    rows = run(connection, "whole_step", id=step_id)
    if not rows:
        return None
    [row] = rows
    ids = {step_id}
    if row["message"] is not None:
        ids |= all_behind(Message.from_json(row["message"]))
    blocked = run(connection, "blocked_behind", ids=sorted(ids), workflow=row["workflow_id"])
    return row | {"blocked": blocked, "actions": run(connection, "actions", id=step_id)}


def in_batches(dead: Sequence[Dead], size: int) -> Iterator[list[Dead]]:
    """Lists of about `size`, in which the steps of one workflow stay together."""
    families: dict[object, list[Dead]] = {}
    for each in dead:
        families.setdefault(each.workflow_id or each.id, []).append(each)
    batch: list[Dead] = []
    for family in families.values():
        if batch and len(batch) + len(family) > size:
            yield batch
            batch = []
        batch += family
    if batch:
        yield batch


def _is_between(
    moment: datetime | None, since: datetime | None, before: datetime | None = None
) -> bool:
    if moment is None:
        return False
    return (since is None or moment >= since) and (before is None or moment < before)
