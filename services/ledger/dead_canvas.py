"""What a given-up step's own message says: how to send it again, and what waits behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from services.ledger.labels import HEADER, inherited, shown
from services.ledger.message import Message

GENERATION_HEADER = "doorbell-generation"
"""Tells a dead letter from the copy of an earlier generation that an interrupted replay left behind."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A step as a leaf of a join's header. `body` is the signature of the join's body."""

    join_id: str
    step_id: str
    body: Mapping[str, Any] = field(compare=False)


@dataclass(slots=True)
class Behind:
    """The steps that follow up to the next joins, and the leaves by which they end in those."""

    step_ids: set[str] = field(default_factory=set)
    leaves: set[Leaf] = field(default_factory=set)

    def add(self, other: Behind) -> None:
        self.step_ids |= other.step_ids
        self.leaves |= other.leaves


def behind_message(message: Message) -> Behind:
    """What follows a step: the rest of its chain, and the joins in which it or its chain is a leaf."""
    found = Behind()
    embedded = json.loads(message.body)[2] or {}
    join_id, body = message.headers.get("group"), embedded.get("chord")
    if join_id and isinstance(body, Mapping):
        found.leaves.add(Leaf(str(join_id), message.step_id, body))
    for signature in embedded.get("chain") or ():
        found.add(behind_signature(signature))
    return found


def behind_signature(signature: Any) -> Behind:
    """A signature's own steps, whatever canvas it is, and the joins in which they are leaves."""
    found = Behind()
    if not isinstance(signature, Mapping):
        return found
    options = signature.get("options") or {}
    step_id, join_id, body = (options.get(key) for key in ("task_id", "group_id", "chord"))
    if step_id:
        found.step_ids.add(str(step_id))
    if step_id and join_id and isinstance(body, Mapping):
        found.leaves.add(Leaf(str(join_id), str(step_id), body))
    for inner in (*(options.get("chain") or ()), *_parts(signature)):
        found.add(behind_signature(inner))
    return found


def _parts(signature: Mapping[str, Any]) -> Iterator[Any]:
    if not signature.get("subtask_type"):
        return
    kwargs = signature.get("kwargs") or {}
    for key in ("tasks", "header", "body"):
        part = kwargs.get(key)
        yield from part if isinstance(part, list | tuple) else (part,)


def all_behind(message: Message) -> set[str]:
    """The ids of everything that follows a step by its message, across all joins."""
    found = behind_message(message)
    step_ids = set(found.step_ids)
    pending, seen = set(found.leaves), set(found.leaves)
    while pending:
        following = behind_signature(pending.pop().body)
        step_ids |= following.step_ids
        pending |= following.leaves - seen
        seen |= following.leaves
    return step_ids


def renewed(message: Message, generation: int, exchange: str, queue: str) -> Message:
    """The same work as a new message: fresh retries, at once, and without what the broker added."""
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
    headers |= {"retries": 0, "eta": None, GENERATION_HEADER: generation}
    if label := inherited(headers):
        # Monitors have heard that it failed.
        headers[HEADER] = shown(label)
    if _has_passed(headers.get("expires")):
        headers["expires"] = None
    return replace(message, headers=headers, exchange=exchange, routing_key=queue)


def generation_of(headers: Mapping[str, Any]) -> int:
    """The generation of a message; a step's first one names none."""
    value = headers.get(GENERATION_HEADER)
    return value if isinstance(value, int) else 1


def _has_passed(expires: Any) -> bool:
    if expires is None:
        return False
    try:
        moment = datetime.fromisoformat(str(expires))
    except ValueError:
        return True
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) <= datetime.now(UTC)


def leaves_of(behind: Iterable[Behind]) -> set[Leaf]:
    """All leaves of several steps."""
    return {leaf for each in behind for leaf in each.leaves}
