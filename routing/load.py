"""Reads topology.yml into a checked Topology, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast

from yaml.nodes import Node

from routing.document import Document, Entry, line_of
from routing.rules import Lines, check
from routing.topology import (
    SECRETS,
    Delays,
    Pool,
    Queue,
    Retry,
    Style,
    Tag,
    TaskRoute,
    Topology,
    User,
)

DEFAULT_FILE = Path(__file__).with_name("topology.yml")

_NAME = "[a-z_]+"
_EXCHANGE = r"(?!amq\.)[a-z_.]+"
_TASK = r"[a-z_]+\.[a-z_]+|celery\.\*"
_SECTIONS = (
    "version",
    "vhost",
    "exchanges",
    "delays",
    "pools",
    "queues",
    "retries",
    "tasks",
    "users",
)
_ALL = "all"  # whoever serves every queue serves one that is added, too
# Celery 5.7 spells both in its own code (kombu/transport/native_delayed_delivery.py).
_DELAY_LEVELS = 28
_DELAY_PREFIX = "celery_delayed"
_LONGEST_DELAY_SECONDS = 2**_DELAY_LEVELS - 1
# The backoff doubles with each retry: a float holds 1,023 doublings.
_MOST_RETRIES = 1000

T = TypeVar("T")


def load(path: Path = DEFAULT_FILE) -> Topology:
    """Read a topology.

    Raises:
        ConfigurationError: one line `file:line: sentence` for every problem.
    """
    document = Document(str(path))
    root = document.open(path)
    topology = _Reader(document, document.fields(root, root, "the topology", _SECTIONS)).read()
    document.refuse()
    return topology


@dataclass(slots=True)
class _Reader:
    document: Document
    sections: dict[str, Node]

    def read(self) -> Topology:
        if self.document.integer(self.sections.get("version"), "version", 1) not in (None, 1):
            line = line_of(self.sections["version"])
            self.document.note(line, "version is not 1: this Doorbell reads version 1 only")
        work, dead = self._exchanges()
        topology = Topology(
            self.document.text(self.sections.get("vhost"), "vhost", _NAME) or "",
            work,
            dead,
            self._delays(),
            self._each("pools", _NAME, self._pool),
            self._each("queues", _NAME, self._queue),
            self._each("retries", _NAME, self._retry),
            self._each("tasks", _TASK, self._task),
            self._each("users", _NAME, self._user),
            self.document.source,
        )
        check(topology, self._lines(), self.document.note)
        return topology

    def _names(self, section: str) -> tuple[str, ...]:
        """The names as written, also of entries that are otherwise wrong: one mistake, one problem."""
        node = self.sections.get(section)
        quiet = Document(self.document.source)
        return tuple(quiet.entries(node, section))

    def _lines(self) -> Lines:
        quiet = Document(self.document.source)
        lines: dict[tuple[str, ...], int] = {
            (name,): line_of(node) for name, node in self.sections.items()
        }
        for section in _SECTIONS[2:]:
            for name, (key, _) in quiet.entries(self.sections.get(section), section).items():
                lines[section, name] = line_of(key)
        return lines

    def _each(
        self, section: str, pattern: str, read: Callable[[str, Entry], T | None]
    ) -> MappingProxyType[str, T]:
        found: dict[str, T] = {}
        for name, entry in self.document.entries(self.sections.get(section), section).items():
            fits = self.document.text(entry[0], f"a name under {section}", pattern)
            part = read(name, entry)
            if fits is not None and part is not None:
                found[name] = part
        return MappingProxyType(found)

    def _exchanges(self) -> tuple[str, str]:
        node = self.sections.get("exchanges")
        if node is None:
            return "", ""
        fields = self.document.fields(node, node, "exchanges", ("work", "dead"))
        work = self.document.text(fields.get("work"), "exchanges.work", _EXCHANGE)
        dead = self.document.text(fields.get("dead"), "exchanges.dead", _EXCHANGE)
        if work is not None and work == dead:
            line = line_of(fields["dead"])
            self.document.note(
                line, f"exchanges.dead is exchanges.work ({work}): give it another name"
            )
        return work or "", dead or ""

    def _delays(self) -> Delays:
        node = self.sections.get("delays")
        if node is None:
            return Delays(_DELAY_LEVELS, _DELAY_PREFIX)
        fields = self.document.fields(node, node, "delays", ("levels", "prefix"))
        levels = self.document.integer(fields.get("levels"), "delays.levels", 1)
        prefix = self.document.choice(fields.get("prefix"), "delays.prefix", (_DELAY_PREFIX,))
        if levels not in (None, _DELAY_LEVELS):
            line = line_of(fields["levels"])
            self.document.note(
                line, f"delays.levels is {levels}: Celery's delays have {_DELAY_LEVELS}"
            )
        return Delays(levels or _DELAY_LEVELS, prefix or _DELAY_PREFIX)

    def _pool(self, name: str, entry: Entry) -> Pool | None:
        what = f"pool {name}"
        counts = ("concurrency", "soft_limit_seconds", "hard_limit_seconds", "grace_seconds")
        fields = self.document.fields(*entry, what, ("style", *counts, "secrets"))
        style = self.document.choice(fields.get("style"), f"{what}: style", ("batch", "io"))
        values = [self.document.integer(fields.get(key), f"{what}: {key}", 1) for key in counts]
        whole = {key: value for key, value in zip(counts, values, strict=True) if value is not None}
        secrets = self.document.references(fields.get("secrets"), f"{what}: secrets", SECRETS)
        if style is None or len(whole) < len(values) or secrets is None:
            return None
        return Pool(name, cast("Style", style), secrets=secrets, **whole)

    def _queue(self, name: str, entry: Entry) -> Queue | None:
        what = f"queue {name}"
        fields = self.document.fields(*entry, what, ("pool", "delivery_limit", "max_length"))
        pool = self.document.reference(fields.get("pool"), f"{what}: pool", self._names("pools"))
        delivery_limit = self.document.integer(
            fields.get("delivery_limit"), f"{what}: delivery_limit", 1
        )
        max_length = self.document.integer(fields.get("max_length"), f"{what}: max_length", 1)
        if pool is None or delivery_limit is None or max_length is None:
            return None
        return Queue(name, pool, delivery_limit, max_length)

    def _retry(self, name: str, entry: Entry) -> Retry | None:
        what = f"retry {name}"
        fields = self.document.fields(*entry, what, ("limit", "base_seconds", "cap_seconds"))
        limit = self.document.integer(fields.get("limit"), f"{what}: limit", 0, _MOST_RETRIES)
        base, cap = (
            self.document.number(fields.get(key), f"{what}: {key}", _LONGEST_DELAY_SECONDS)
            for key in ("base_seconds", "cap_seconds")
        )
        if limit is None or base is None or cap is None:
            return None
        return Retry(name, limit, base, cap)

    def _task(self, name: str, entry: Entry) -> TaskRoute | None:
        what = f"task {name}"
        fields = self.document.fields(*entry, what, ("queue", "retry", "sends"))
        queues = self._names("queues")
        queue = self.document.reference(fields.get("queue"), f"{what}: queue", queues)
        retry = self.document.reference(
            fields.get("retry"), f"{what}: retry", self._names("retries")
        )
        sends = self.document.references(fields.get("sends"), f"{what}: sends", queues, _ALL)
        if queue is None or retry is None or sends is None:
            return None
        return TaskRoute(name, queue, retry, sends, line_of(entry[0]))

    def _user(self, name: str, entry: Entry) -> User | None:
        what = f"user {name}"
        fields = self.document.fields(*entry, what, ("sends", "observes", "replays", "tag"))
        sends = self.document.references(
            fields.get("sends"), f"{what}: sends", self._names("queues"), _ALL
        )
        observes = self.document.boolean(fields.get("observes"), f"{what}: observes")
        replays = self.document.boolean(fields.get("replays"), f"{what}: replays")
        tag = self.document.choice(fields.get("tag"), f"{what}: tag", ("none", "management"))
        if sends is None or observes is None or replays is None or tag is None:
            return None
        return User(name, sends, observes, replays, cast("Tag", tag))
