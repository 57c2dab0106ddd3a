"""CONTRIBUTING's recipes, followed to the letter in a copy of the repository.

A recipe changes files by its `diff` blocks (a line `# path`, then parts of that file with what is added and
removed, `@@` between them), makes files by its other blocks (a comment with the path in their first line), and
is finished by the commands of its `sh` blocks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.fleet import ROOT

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_BLOCK = re.compile(r"^(`{3,4})(\w+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?:#|--|<!--) ([\w./-]+)(?: -->)?")
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".local", ".venv*", "*.pyc", ".*_cache", "*.egg-info", "*.png", "node_modules"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a section of CONTRIBUTING has somebody do: files by path, and commands in their order."""

    title: str
    changes: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]

    def change(self, tree: Path) -> None:
        """Change and make the files.

        Raises:
            AssertionError: a part of a `diff` is not in its file, or more than once.
        """
        for path, text in self.made:
            assert not (tree / path).exists(), f"{self.title}: {path} is there already"
            (tree / path).write_text(text)
        for path, parts in self.changes:
            text = (tree / path).read_text()
            for part in parts.split("@@\n"):
                text = _applied(part, text, f"{self.title}: {path}")
            (tree / path).write_text(text)

    def finish(self, tree: Path) -> None:
        """Call the commands, each of which has to succeed."""
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "CI") if name in os.environ
        }
        for command in self.commands:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=tree,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, f"{self.title}: {command}\n{done.stdout}{done.stderr}"


def recipe(title: str) -> Recipe:
    """The recipe of this heading."""
    text = CONTRIBUTING.read_text()
    # A page that is to be made has headings too.
    outside = _BLOCK.sub(lambda block: " " * len(block[0]), text)
    begin = outside.find(f"\n## {title}\n")
    assert begin >= 0, f"CONTRIBUTING.md has no heading {title!r}"
    end = outside.find("\n## ", begin + 1)
    changes, made, commands = [], [], []
    for _, language, block in _BLOCK.findall(text[begin : end if end > 0 else None]):
        if language == "sh":
            commands.append(block)
            continue
        first, _, rest = block.partition("\n")
        path = _PATH.fullmatch(first)
        assert path, (
            f"{title}: the block that starts with {first!r} does not say of which file it is"
        )
        (changes if language == "diff" else made).append((path[1], rest))
    return Recipe(title, tuple(changes), tuple(made), tuple(commands))


def copy_of_the_repository(directory: Path) -> Path:
    """A copy in which a recipe's commands can be called."""
    copy = directory / "repository"
    shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
    (copy / ".venv").symlink_to(sys.prefix)
    if (ROOT / ".venv-ansible").exists():
        (copy / ".venv-ansible").symlink_to(ROOT / ".venv-ansible")
    return copy


def _applied(part: str, text: str, where: str) -> str:
    lines = part.splitlines()
    assert all(line[:1] in (" ", "+", "-", "") for line in lines), f"{where}: {part}"
    before = _of(lines, " -")
    assert f"\n{text}".count(f"\n{before}") == 1, f"{where} has not once\n{before}"
    return f"\n{text}".replace(f"\n{before}", "\n" + _of(lines, " +"))[1:]


def _of(lines: list[str], marks: str) -> str:
    """The lines with these marks, without them; an empty line is one that stays."""
    return "".join(f"{line[1:]}\n" for line in lines if (line[:1] or " ") in marks)
