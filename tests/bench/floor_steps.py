"""What follows each step on the floor: the messages that Celery would make of the main workflow, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from routing.load import load
from services.ledger.message import Message
from services.ledger.unit import JoinPart, StoredResult

Json = dict[str, Any]

READY = "the floor consumes"
"""What it prints once all its processes do."""

JOIN_SIZE = 2
"""Leaves of the main workflow's one join."""


@dataclass(slots=True)
class Incoming:
    """A message as the broker delivers it."""

    tag: int
    headers: Json
    properties: Json
    args: list[Any]
    embed: Json
    workflow_id: UUID | None = None

    @classmethod
    def read(cls, tag: int, headers: Json, properties: Json, body: bytes | str) -> Incoming:
        args, _, embed = json.loads(body)
        return cls(tag, headers, properties, args, embed)

    @property
    def id(self) -> str:
        return str(self.headers["id"])

    @property
    def task(self) -> str:
        return str(self.headers["task"])


@dataclass(slots=True)
class Ended:
    """A step that has ended, and what its end brings."""

    of: Incoming
    result: str
    messages: list[Message] = field(default_factory=list)
    part: JoinPart | None = None
    join_id: str | None = None
    is_last: bool = False

    @property
    def stored(self) -> StoredResult:
        headers = self.of.headers
        return StoredResult(
            self.of.id,
            "SUCCESS",
            self.result,
            None,
            json.dumps([message.step_id for message in self.messages]),
            self.of.task,
            headers["root_id"],
            headers["parent_id"],
            0,
        )


def ended(step: Incoming, result: Json, notices: Sequence[str] = ()) -> Ended:
    """What follows a step with this result, as its message says: a chain's next, a group, a join's leaf, or nothing."""
    end = Ended(step, json.dumps(result))
    end.messages += [_delivery(step, notice) for notice in notices]
    end.messages += [
        _message(step, signature, [result]) for signature in step.embed["callbacks"] or ()
    ]
    *rest, following = step.embed["chain"] or [None]
    if following is not None and following["subtask_type"] == "chord":
        _begin_group(end, following, rest, result)
    elif following is not None:
        end.messages.append(_message(step, following, [result], chain=rest))
    elif body := step.embed["chord"]:
        index = step.headers["group_index"]
        end.part = JoinPart(step.headers["group"], step.id, index, "SUCCESS", end.result, body)
    else:
        end.is_last = not end.messages
    return end


def body_of(end: Ended, results: Sequence[Any]) -> Message:
    """The message of a join's body, once all its leaves have ended."""
    assert end.part is not None
    body = end.part.body
    return _message(end.of, body, [list(results)], chain=body["options"].get("chain"))


def _begin_group(end: Ended, chord: Json, rest: list[Json], result: Json) -> None:
    body = chord["kwargs"]["body"]
    body["options"]["chain"] = rest
    end.join_id = chord["options"]["task_id"]
    for signature in chord["kwargs"]["header"]["kwargs"]["tasks"]:
        signature["options"] |= {"chord": body, "group_id": end.join_id}
        end.messages.append(_message(end.of, signature, [result]))


def _delivery(step: Incoming, notice: str) -> Message:
    """As `services.canvas.delivery` has it."""
    signature = {
        "task": "notifications.deliver_notice",
        "args": [notice],
        "options": {
            "link": [_plain("notifications.record_receipt", [], is_immutable=False)],
            "link_error": [_plain("notifications.try_next_channel", [notice], is_immutable=True)],
        },
    }
    return _message(step, signature, [])


def _plain(task: str, args: list[Any], *, is_immutable: bool) -> Json:
    return {
        "task": task,
        "args": args,
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": is_immutable,
    }


def _message(
    step: Incoming, signature: Json, results: list[Any], chain: list[Json] | None = None
) -> Message:
    options = signature["options"]
    step_id = options.get("task_id") or str(uuid4())
    args = [*results, *signature["args"]]
    embed = {
        "callbacks": options.get("link"),
        "errbacks": options.get("link_error"),
        "chain": chain or None,
        "chord": options.get("chord"),
    }
    headers = step.headers | {
        "id": step_id,
        "task": signature["task"],
        "group": options.get("group_id"),
        "group_index": options.get("group_index"),
        "parent_id": step.id,
        "argsrepr": repr(tuple(args)),
    }
    return Message(
        step_id=step_id,
        task=signature["task"],
        exchange=work_exchange(),
        routing_key=queue_of(signature["task"]),
        headers=headers,
        properties=step.properties | {"correlation_id": step_id},
        body=json.dumps([args, {}, embed]),
    )


@cache
def work_exchange() -> str:
    """Where every message goes."""
    return load().work_exchange


@cache
def queue_of(task: str) -> str:
    """Where a task's messages wait."""
    return load().route(task).queue
