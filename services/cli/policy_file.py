"""Reads a tenant's policy from its YAML file; every problem names its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import typer
from yaml.nodes import Node, ScalarNode, SequenceNode

from routing.document import Document, line_of
from services.cli.amounts import seconds_of
from services.domain.policy import (
    ACTS,
    DEFAULT,
    EVENTS,
    OCCASIONS,
    REASONS,
    SWITCHES,
    TOLD,
    Act,
    EventName,
    Occasion,
    Policy,
    Reason,
    Told,
)

_KEYS = (
    "levels",
    "actions",
    "never_lock",
    "lock_from",
    "cooldown",
    "expire",
    "tell",
    "events",
    "mails_per_hour",
    "unsubscribe",
    "digest",
    "dry_run",
)
_LEVELS: tuple[Literal["medium", "high"], ...] = ("medium", "high")
_HIGHEST_SCORE = 1e12
_USER = r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}"
"""As an application may report one."""
_MOST_USERS = 1_000
"""The list is read with each login."""
_MOST_EARLIER_LOGINS = 100
"""So many are counted with each verdict."""


def read_policy(path: Path) -> tuple[Policy, str]:
    """The policy in a file, and the file's text. What it leaves out is as for tenants without one.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong: a line for each problem.
    """
    document = Document(str(path))
    text = document.read(path)
    root = document.parse(text)
    reader = _Reader(document)
    policy = reader.policy(reader.known(root, "the policy", _KEYS))
    document.refuse()
    return policy, text


class _Reader:
    """Notes problems in the document, and goes on with what is right."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def known(self, node: Node | None, what: str, names: Sequence[str]) -> Mapping[str, Node]:
        """The entries of a mapping that may have these keys, and need none of them."""
        found = {}
        for name, (key, value) in self._document.entries(node, what).items():
            if name in names:
                found[name] = value
            else:
                self._document.note(
                    line_of(key), f"{what} knows no key {name}: use {', '.join(names)}"
                )
        return found

    def policy(self, fields: Mapping[str, Node]) -> Policy:
        given: dict[str, Any] = {
            "levels": self._levels(fields.get("levels")),
            "actions": {**DEFAULT.actions, **self._actions(fields.get("actions"))},
            "never_lock": self._users(fields.get("never_lock")),
            "lock_from": self._lock_from(fields.get("lock_from")),
            "cooldown_seconds": self._seconds(fields.get("cooldown"), "cooldown", least=0.0) or 0.0,
            "expire_seconds": self._expiries(fields.get("expire")),
            "tell": {**DEFAULT.tell, **self._tell(fields.get("tell"))},
            "events": self._events(fields.get("events")),
            "mails_per_hour": self._document.integer(
                fields.get("mails_per_hour"), "mails_per_hour", 1, 1000
            )
            or DEFAULT.mails_per_hour,
            "may_unsubscribe": self._document.boolean(fields.get("unsubscribe"), "unsubscribe")
            or False,
            "digest_hour": self._digest_hour(fields.get("digest")),
            "is_dry_run": self._document.boolean(fields.get("dry_run"), "dry_run") or False,
        }
        return Policy(**given)

    def _levels(self, node: Node | None) -> dict[Literal["medium", "high"], float]:
        found: dict[Literal["medium", "high"], float] = {}
        entries = self.known(node, "levels", _LEVELS) if node else {}
        for name in _LEVELS:
            score = self._document.number(entries.get(name), f"levels: {name}", _HIGHEST_SCORE)
            if score is not None:
                found[name] = score
        if node and 0 < len(entries) < len(_LEVELS):
            self._document.note(
                line_of(node), "levels has one of medium and high: give both, or none of them"
            )
        if node and len(found) == len(_LEVELS) and found["high"] < found["medium"]:
            self._document.note(
                line_of(entries["high"]), "levels: high is below medium: give it the higher score"
            )
        return found

    def _actions(self, node: Node | None) -> dict[Occasion, frozenset[Act]]:
        found: dict[Occasion, frozenset[Act]] = {}
        for name, value in (self.known(node, "actions", OCCASIONS) if node else {}).items():
            known = SWITCHES if name == "disowned" else ACTS
            acts = self._document.references(value, f"actions: {name}", known)
            if acts is not None:
                found[cast("Occasion", name)] = frozenset(cast("Sequence[Act]", acts))
        return found

    def _users(self, node: Node | None) -> frozenset[str]:
        if node is None:
            return frozenset()
        if not isinstance(node, SequenceNode):
            self._document.note(line_of(node), "never_lock is no list: write one user's id a line")
            return frozenset()
        if len(node.value) > _MOST_USERS:
            self._document.note(
                line_of(node),
                f"never_lock has more than {_MOST_USERS} users: keep the few who unlock",
            )
            return frozenset()
        users = (self._document.text(item, "a user of never_lock", _USER) for item in node.value)
        return frozenset(user for user in users if user is not None)

    def _lock_from(self, node: Node | None) -> int:
        logins = self._document.integer(node, "lock_from", 0, _MOST_EARLIER_LOGINS)
        return DEFAULT.lock_from if logins is None else logins

    def _expiries(self, node: Node | None) -> dict[str, float]:
        entries = self.known(node, "expire", SWITCHES) if node else {}
        read = {name: self._seconds(value, f"expire: {name}") for name, value in entries.items()}
        return {name: seconds for name, seconds in read.items() if seconds is not None}

    def _tell(self, node: Node | None) -> dict[Reason, Told]:
        found: dict[Reason, Told] = {}
        for name, value in (self.known(node, "tell", REASONS) if node else {}).items():
            told = self._document.choice(value, f"tell: {name}", TOLD)
            if told is not None:
                found[cast("Reason", name)] = cast("Told", told)
        return found

    def _digest_hour(self, node: Node | None) -> int | None:
        entries = self.known(node, "digest", ("hour",)) if node else {}
        return self._document.integer(entries.get("hour"), "digest: hour", 0, 23)

    def _events(self, node: Node | None) -> frozenset[EventName]:
        if node is None:
            return DEFAULT.events
        names = self._document.references(node, "events", EVENTS)
        return frozenset(cast("Sequence[EventName]", names or ()))

    def _seconds(self, node: Node | None, what: str, least: float = 1.0) -> float | None:
        if node is None:
            return None
        try:
            # A number has no unit, whatever YAML makes of it.
            seconds = seconds_of(node.value) if isinstance(node, ScalarNode) else -1.0
        except typer.BadParameter:
            seconds = -1.0
        if seconds < least:
            given = f" is {node.value!r}" if isinstance(node, ScalarNode) else ""
            self._document.note(
                line_of(node), f"{what}{given}: write how long, such as 10m, 1h or 7d"
            )
            return None
        return seconds
