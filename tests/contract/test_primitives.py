"""The table of Celery's primitives is whole, and each row's test is one that is run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "tests/e2e/README.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `(\S+?)::(\w+)` \|$", TABLE, re.MULTILINE)
PRIMITIVES = [
    *("signature by name", "signature from its task", "args and kwargs", "options", "set", "clone"),
    *("s", "si", "link", "link_error", "chain", r"`\|`", "group"),
    *("chord of a header and a body", "chord as a group with a step behind it", "map", "starmap"),
    *("retry in the task", "automatic retry"),
    *(f"error callback of a {level}" for level in ("task", "member", "group", "chain")),
    *("AsyncResult by id", "AsyncResult by its task", "result", "parent", "children"),
    *("GroupResult", "ready", "successful", "get", "join"),
]


def test_every_primitive_has_its_row() -> None:
    """Each once, in the order in which they are taught, and no line is left over."""
    assert [primitive for primitive, *_ in ROWS] == PRIMITIVES
    assert TABLE.count("\n| ") == len(ROWS) + 1


@pytest.mark.parametrize(("primitive", "job", "file", "name"), ROWS)
def test_a_row_names_a_test_that_is_there(primitive: str, job: str, file: str, name: str) -> None:
    """In a module that needs the cluster's workers, and is no slow one."""
    [test] = [
        node
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]

    assert "ours" in {argument.arg for argument in test.args.args}
    assert not [it for it in test.decorator_list if "slow" in ast.dump(it)]


def test_the_places_that_jobs_name_are_there() -> None:
    """A canvas that was renamed is named anew here too, and so is its step."""
    named = [
        (primitive, word)
        for primitive, job, *_ in ROWS
        for word in re.findall(r"`([\w/.]+)`", job)
        if "/" in word
    ]

    assert named
    for primitive, word in named:
        folder = "" if word.startswith(("services/", "routing/")) else "services/"
        assert (ROOT / f"{folder}{word}").exists(), primitive
