"""A runbook page as a program: the commands of its Mitigation, and what its Verify wants to be true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RUNBOOKS = Path(__file__).resolve().parents[2] / "deploy" / "runbooks"
SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Verify")

CONTROLLER = "the controller"
"""Where playbooks are called."""

Place = Literal["checkout", "local", "containers", "hosts"]
PLACES: tuple[Place, ...] = ("checkout", "local", "containers", "hosts")

_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)
_BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^([A-Z]+)=(\"[^\"]*\"|\S+)(\s+# (the alert's label)?.*)$", re.MULTILINE)
_SETTING = re.compile(r"[A-Z]+=|case ")
_PLAYBOOK = ".venv-ansible/bin/"
_WHERE = re.compile(r"(?:^|\s{2,})# on ((?:a|the|each|the alert's) .+?)(?:, .*)?$")
_CONDITION = re.compile(
    r"`([^`\n]+)`(?:, with the alert's (\w+),)?\s+(is above|is below|is|falls to)\s+([0-9.]+)"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A query and what its only value must be."""

    query: str
    relation: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value of the query is what the page wants."""
        if self.relation == "is above":
            return value > self.bound
        if self.relation == "is below":
            return value < self.bound
        return value == self.bound


@dataclass(frozen=True, slots=True)
class Page:
    """One page, its sections by name."""

    name: str
    sections: dict[str, str]

    def commands(
        self, section: str, place: Place, labels: Mapping[str, str] | None = None
    ) -> list[str]:
        """The shell scripts of a section for one place, in their order.

        labels: an alert's, and what its reader has found out besides. Where the page gives an example of one, as an
            operator would, its value is put.
        """
        blocks = _BLOCK.findall(self.sections.get(section, ""))
        return [_filled_in(script, labels or {}) for where, script in blocks if where == place]

    def conditions(self, labels: Mapping[str, str] | None = None) -> list[Condition]:
        """What is true once it is mended; labels: as of `commands`."""
        given = labels or {}
        return [
            Condition(
                re.sub(f'{label}="[^"]*"', f'{label}="{given[label]}"', query)
                if label in given
                else query,
                relation,
                float(bound.rstrip(".")),
            )
            for query, label, relation, bound in _CONDITION.findall(self.sections["Verify"])
        ]


def _filled_in(script: str, labels: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, _, comment, is_of_the_alert = found.groups()
        label = name.lower()
        if label in labels or (labels and is_of_the_alert):
            return f"{name}={shlex.quote(labels[label])}{comment}"
        return found[0]

    return _EXAMPLE.sub(value, script)


def placed(script: str) -> list[tuple[str, str]]:
    """Each command of a script for hosts behind where it is to be run, as the page says: `on a host of gateways`.

    What the page says holds until it says something else or calls a playbook. Variables are set before each.

    Raises:
        ValueError: of a command the page does not say it.
    """
    settings, where = "", ""
    found: list[tuple[str, str]] = []
    for line in script.splitlines():
        if said := _WHERE.search(line):
            where = said[1]
        if line.startswith(_PLAYBOOK):
            found.append((CONTROLLER, f"{settings}{line}"))
            where = ""
        elif _SETTING.match(line):
            settings += f"{line}\n"
        elif line and not line.startswith("#"):
            if not where:
                raise ValueError(f"{line}: where?")
            found.append((where, f"{settings}{line}"))
    return found


def read(name: str, folder: Path = RUNBOOKS) -> Page:
    """The page of an alert, or of something that operators do.

    Raises:
        FileNotFoundError: there is none.
    """
    _, *parts = _SECTION.split((folder / f"{name}.md").read_text())
    return Page(name, dict(zip(parts[::2], parts[1::2], strict=True)))


def pages() -> list[Page]:
    """The pages of all alerts: those whose file is named as alerts are."""
    names = [path.stem for path in sorted(RUNBOOKS.glob("[A-Z]*.md"))]
    return [read(name) for name in names if name != "README"]


def operations() -> list[Page]:
    """The pages of what operators do: those whose file is named in small letters."""
    return [read(path.stem) for path in sorted(RUNBOOKS.glob("[a-z]*.md"))]
