"""Reads a YAML document node by node, so that every problem can name its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from services.domain.errors import ConfigurationError

Entry = tuple[Node, Node]
Fields = dict[str, Node]
T = TypeVar("T")

LARGEST = 2**31 - 1
"""No count of messages or seconds is larger; RabbitMQ takes it everywhere."""

_MOST_VALUES = 20_000
"""Keys count, too. Some twenty times as many as the longest file in use has."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "null": "empty",
    "seq": "a list",
    "map": "a mapping",
}
_constructor = SafeConstructor()


class _TooLong(Exception):
    """A file has more values than are read; it is a list or mapping from this line on that has the last of them."""

    def __init__(self, line: int) -> None:
        self.line = line


class _Loader(yaml.SafeLoader):
    """Stops in time: a list may be an export of everybody, and is composed whole before anybody counts it."""

    _values = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _TooLong(1 if parent is None else line_of(parent))
        return super().compose_node(parent, index)


@dataclass(slots=True)
class Document:
    """A YAML file and all the problems found in it.

    The reading methods return None (or leave an entry out) after noting a problem, and pass on
    the None of a missing node, so that one run finds every problem of the file.
    """

    source: str
    problems: list[tuple[int, str]] = field(default_factory=list)

    def open(self, path: Path) -> Node:
        """Return the root node.

        Raises:
            ConfigurationError: the file cannot be read or is no YAML.
        """
        return self.parse(self.read(path))

    def read(self, path: Path) -> str:
        """Return the text of a file.

        Raises:
            ConfigurationError: it cannot be read.
        """
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.source}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{self.source}: is not UTF-8: save it as UTF-8") from error

    def parse(self, text: str) -> Node:
        """Return the root node of a text.

        Raises:
            ConfigurationError: it is no YAML.
        """
        try:
            root = yaml.compose(text, Loader=_Loader)
        except _TooLong as error:
            raise ConfigurationError(
                f"{self.source}:{error.line}: what begins here makes more than {_MOST_VALUES:,} values of the file:"
                " nobody looks through so many, leave most of them out"
            ) from error
        except RecursionError as error:
            raise ConfigurationError(f"{self.source}:1: is nested too deeply") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise ConfigurationError(
                f"{self.source}:{line}: is not valid YAML: {error.problem or error.context}"
            ) from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{self.source}:1: is not valid YAML: {error}") from error
        if root is None:
            raise ConfigurationError(f"{self.source}:1: is empty: write into it what is wanted")
        return root

    def note(self, line: int, sentence: str) -> None:
        """Remember a problem; what cannot be printed is shown escaped."""
        shown = (c if c.isprintable() else ascii(c)[1:-1] for c in sentence)
        self.problems.append((line, "".join(shown)))

    def refuse(self) -> None:
        """Raise ConfigurationError with every problem, in the order of the lines, if there is one."""
        if self.problems:
            lines = (f"{self.source}:{line}: {text}" for line, text in sorted(self.problems))
            raise ConfigurationError("\n".join(dict.fromkeys(lines)))

    def entries(self, node: Node | None, what: str) -> dict[str, Entry]:
        """Read a mapping as (key node, value node) by name; a second key of one name is refused."""
        found: dict[str, Entry] = {}
        if node is None:
            return found
        if not isinstance(node, MappingNode):
            self._wrong(node, what, "a mapping")
            return found
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else ""
            if not name:
                self.note(line_of(key), f"a key of {what} is not a name: write a plain word")
            elif name in found:
                first = line_of(found[name][0])
                self.note(
                    line_of(key), f"{name} stands twice in {what} (first in line {first}): keep one"
                )
            else:
                found[name] = (key, value)
        return found

    def fields(self, key: Node, node: Node | None, what: str, known: Sequence[str]) -> Fields:
        """Read the mapping under `key` that must have just the keys `known`; returns those that are there."""
        entries = self.entries(node, what)
        if not isinstance(node, MappingNode):
            return {}
        for name, (entry, _) in entries.items():
            if name not in known:
                self.note(line_of(entry), f"{what} knows no key {name}: use {', '.join(known)}")
        for name in known:
            if name not in entries:
                self.note(line_of(key), f"{what} lacks the key {name}: add it")
        return {name: value for name, (_, value) in entries.items() if name in known}

    def integer(
        self, node: Node | None, what: str, minimum: int, maximum: int = LARGEST
    ) -> int | None:
        """Read a whole number from `minimum` to `maximum`."""
        scalar = self._scalar(node, what, "a whole number", "int")
        if scalar is None:
            return None
        value = self._constructed(scalar, what, "a whole number", _constructor.construct_yaml_int)
        if value is None:
            return None
        bound = f"at least {minimum}" if value < minimum else f"at most {maximum}"
        sentence = f"{what} is {value}: it must be {bound}"
        return self._checked(value, scalar, minimum <= value <= maximum, sentence)

    def number(self, node: Node | None, what: str, maximum: float) -> float | None:
        """Read a number above zero, up to `maximum`."""
        scalar = self._scalar(node, what, "a number", "int", "float")
        if scalar is None:
            return None
        value = self._constructed(scalar, what, "a number", _float_of)
        if value is None:
            return None
        sentence = f"{what} is {value}: it must be above 0 and at most {maximum:.0f}"
        return self._checked(value, scalar, 0 < value <= maximum, sentence)

    def boolean(self, node: Node | None, what: str) -> bool | None:
        """Read true or false."""
        scalar = self._scalar(node, what, "true or false", "bool")
        if scalar is None:
            return None
        value = self._constructed(scalar, what, "true or false", _constructor.construct_yaml_bool)
        return None if value is None else bool(value)

    def text(self, node: Node | None, what: str, pattern: str) -> str | None:
        """Read a text that fits the regular expression `pattern`."""
        bare = node.value if isinstance(node, ScalarNode) else ""
        wanted = f'a text, such as "{bare}"' if bare else "a text"
        scalar = self._scalar(node, what, wanted, "str")
        if scalar is None:
            return None
        value = str(scalar.value)
        good = re.fullmatch(pattern, value) is not None
        return self._checked(value, scalar, good, f"{what} is {value!r}: it must fit {pattern}")

    def choice(self, node: Node | None, what: str, choices: Sequence[str]) -> str | None:
        """Read one of some words."""
        scalar = self._scalar(node, what, "a text", "str")
        if scalar is None:
            return None
        value = str(scalar.value)
        sentence = f"{what} is {value!r}: use {' or '.join(choices)}"
        return self._checked(value, scalar, value in choices, sentence)

    def reference(self, node: Node | None, what: str, known: Sequence[str]) -> str | None:
        """Read a name that is among `known`."""
        scalar = self._scalar(node, what, "a text", "str")
        if scalar is None:
            return None
        value = str(scalar.value)
        there = ", ".join(known) or "none"
        sentence = f"{what} names {value!r}, which is not there ({there}): correct it or add it"
        return self._checked(value, scalar, value in known, sentence)

    def references(
        self, node: Node | None, what: str, known: Sequence[str], every: str | None = None
    ) -> tuple[str, ...] | None:
        """Read a list of names that are all among `known`, each once; or the word `every` for all of them."""
        if every is not None and isinstance(node, ScalarNode) and node.value == every:
            return tuple(known)
        if not isinstance(node, SequenceNode):
            if node is not None:
                self._wrong(node, what, f"a list, or {every}" if every else "a list")
            return None
        names: list[str] = []
        for item in node.value:
            name = self.reference(item, what, known)
            if name is not None and name in names:
                self.note(line_of(item), f"{what} names {name} twice: keep one")
            elif name is not None:
                names.append(name)
        return tuple(names)

    def _scalar(self, node: Node | None, what: str, wanted: str, *kinds: str) -> ScalarNode | None:
        if isinstance(node, ScalarNode) and _kind(node) in kinds:
            return node
        if node is not None:
            self._wrong(node, what, wanted)
        return None

    def _constructed(
        self, node: ScalarNode, what: str, wanted: str, construct: Callable[[ScalarNode], Any]
    ) -> Any:
        """The value of a node; None after noting that its tag is not true."""
        try:
            return construct(node)
        except (ValueError, KeyError, OverflowError):
            self.note(line_of(node), f"{what} is {node.value[:40]!r}: it must be {wanted}")
            return None

    def _checked(self, value: T, node: Node, good: bool, sentence: str) -> T | None:
        if good:
            return value
        self.note(line_of(node), sentence)
        return None

    def _wrong(self, node: Node, what: str, wanted: str) -> None:
        kind = _KINDS.get(_kind(node), "something else")
        is_bare = wanted == _KINDS["str"] and isinstance(node, ScalarNode) and node.value
        quoted = f', such as "{node.value}"' if is_bare else ""
        self.note(line_of(node), f"{what} is {kind}: it must be {wanted}{quoted}")


def _float_of(node: ScalarNode) -> float:
    if ":" in str(node.value):
        raise ValueError("minutes and seconds are no number")
    return float(_constructor.construct_object(node))


def line_of(node: Node) -> int:
    """Return the line where a node starts, counted from 1."""
    return int(node.start_mark.line) + 1


def _kind(node: Node) -> str:
    return str(node.tag).rpartition(":")[2]
