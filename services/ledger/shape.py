"""What a message says of its step's place in a canvas: ids and names of tasks, and no arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.ledger.message import Message, is_name

_MOST_STEPS = 500
"""More than a body of 64 KiB can name."""

_MAPS = ("celery.map", "celery.starmap")
_LINKED = '"callbacks": ['


def shape_of_message(message: Message) -> str | None:
    """As `shape_of`, of a message of ours."""
    return shape_of(message.step_id, message.headers, json.loads(message.body))


def map_of(task: str, kwargs: Mapping[str, Any]) -> str | None:
    """Of a `map` or `starmap` that part of its place which names what it does, and how often; None: it is none."""
    if task not in _MAPS:
        return None
    found = _mapped(kwargs)
    return json.dumps(found) if found else None


def has_links(message: Message) -> bool:
    """Whether a step of a workflow has callbacks of its own; a plan does not know them."""
    return _LINKED in message.body


def shape_of(step_id: str, headers: Mapping[str, Any], body: Any) -> str | None:
    """The place as JSON; None when the step stands alone, or nobody can read its message.

    body: arguments, keywords and what Celery put behind them. It has, as far as there is any:
    `group` and `index`, the group that the step is a member of and its place there; `joins`, the group that
    it, or the end of its chain, is of, for finding the others; `maps`, the task of a
    `map` or `starmap`, with `items`, how many; `link` and `link_error`, names of callbacks;
    `next`, what follows up to the end of the canvas: `id`, `task`, `after` (ids of those before), and
    `is_body`, `group`, `index`, `maps`, `items`, `link`, `link_error` where that is so.
    """
    try:
        _, kwargs, embed = body
        found = _shape(step_id, headers, kwargs, embed or {})
    except Exception:  # noqa: BLE001  # the body may be anything that anybody sent
        return None
    return json.dumps(found) if found else None


def _shape(
    step_id: str, headers: Mapping[str, Any], kwargs: Any, embed: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    group, index = headers.get("group"), headers.get("group_index")
    if is_name(group) and isinstance(index, int):
        # The body of a chord has its header's group as well, but no place in it.
        found |= {"group": group, "index": index}
    if joins := _joined(group, embed.get("chain") or ()):
        found["joins"] = joins
    if headers.get("task") in _MAPS:
        found |= _mapped(kwargs)
    found |= _callbacks(embed.get("callbacks"), embed.get("errbacks"))
    ahead = _Ahead()
    ends: tuple[str, ...] = (step_id,)
    for following in reversed(embed.get("chain") or ()):
        ends = ahead.add(following, ends)
    if body := embed.get("chord"):
        # What follows the body is told once, by the header's first member.
        ahead.add(body if not found.get("index") else _beginning(body), ends, is_body=True)
    if ahead.steps:
        found["next"] = list(ahead.steps.values())
    return found


def _joined(group: Any, chain: Sequence[Any]) -> str | None:
    """The group by which a canvas's steps know each other: its own, or that in which its chain ends."""
    # What follows stands there the other way round.
    end = chain[0] if chain and not group else {}
    found = group or (end.get("options") or {}).get("group_id")
    return str(found) if is_name(found) else None


def _mapped(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    name, items = kwargs["task"]["task"], kwargs["it"]
    return {"maps": name, "items": len(items)} if is_name(name) else {}


def _callbacks(links: Any, errbacks: Any) -> dict[str, list[str]]:
    named = {"link": [*_names(links)], "link_error": [*_names(errbacks)]}
    return {kind: names for kind, names in named.items() if names}


def _names(signatures: Any) -> Iterator[str]:
    """The first tasks of callbacks, which may be canvases."""
    several: Sequence[Any] = signatures if isinstance(signatures, list) else [signatures]
    for each in several:
        if not isinstance(each, Mapping):
            continue
        tasks: list[Any] = (each.get("kwargs") or {}).get("tasks") or []
        if each.get("subtask_type") == "chain":
            yield from _names(tasks[0])
        elif each.get("subtask_type") == "group":
            yield from _names(tasks)
        elif is_name(each.get("task")):
            yield str(each["task"])


def _beginning(signature: Mapping[str, Any]) -> Mapping[str, Any]:
    """A signature without what follows its first step."""
    if signature.get("subtask_type") == "chain":
        return _beginning(signature["kwargs"]["tasks"][0])
    options = {
        name: value
        for name, value in signature["options"].items()
        if name not in ("chain", "chord")
    }
    return {**signature, "options": options}


@dataclass(slots=True)
class _Ahead:
    """The steps that follow, by id, in the order in which they can run."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, signature: Mapping[str, Any], after: tuple[str, ...], *, is_body: bool = False
    ) -> tuple[str, ...]:
        """Add a signature's steps behind those before; returns its last ones."""
        kind, kwargs = signature.get("subtask_type"), signature.get("kwargs") or {}
        options = signature.get("options") or {}
        if kind == "chain":
            ends = after
            for index, task in enumerate(kwargs["tasks"]):
                ends = self.add(task, ends, is_body=is_body and not index)
        elif kind == "group":
            ends = self._side_by_side(kwargs["tasks"], after, is_body)
        elif kind == "chord":
            header = kwargs["header"]
            members = header["kwargs"]["tasks"] if isinstance(header, Mapping) else header
            joined = self._side_by_side(members, after, is_body)
            ends = self.add(kwargs["body"], joined, is_body=True)
        else:
            ends = self._step(signature["task"], options, after, is_body)
            if signature["task"] in _MAPS and ends != after:
                self.steps[ends[0]] |= _mapped(kwargs)
        for following in reversed(options.get("chain") or ()):
            ends = self.add(following, ends)
        if body := options.get("chord"):
            self.add(body, ends, is_body=True)
        return ends

    def _side_by_side(
        self, members: Sequence[Mapping[str, Any]], after: tuple[str, ...], is_body: bool
    ) -> tuple[str, ...]:
        ends = [self.add(member, after, is_body=is_body) for member in members]
        return tuple(dict.fromkeys(step_id for end in ends for step_id in end))

    def _step(
        self, task: str, options: Mapping[str, Any], after: tuple[str, ...], is_body: bool
    ) -> tuple[str, ...]:
        step_id, group, index = (options.get(it) for it in ("task_id", "group_id", "group_index"))
        if not (is_name(step_id) and is_name(task)):
            return after
        if step_id not in self.steps and len(self.steps) >= _MOST_STEPS:
            return after
        step = self.steps.setdefault(str(step_id), {"id": step_id, "task": task, "after": []})
        step["after"] = list(dict.fromkeys([*step["after"], *after]))
        if is_body:
            step["is_body"] = True
        if is_name(group) and isinstance(index, int):
            step |= {"group": group, "index": index}
        step |= _callbacks(options.get("link"), options.get("link_error"))
        return (str(step_id),)
