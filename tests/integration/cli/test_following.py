"""`doorbell trace --follow` shows each new state once, and ends with the workflow."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import Run
from tests.integration.gateway.door import Door, login, opened_door

_COMMAND = [
    sys.executable,
    "-c",
    "import sys; from services.cli.main import main; sys.exit(main())",
]
_SECONDS = 30


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    with opened_door(database_url) as opened:
        opened.rows("INSERT INTO tenant (id, name) VALUES ('shop', 'The Shop')")
        digest = hashlib.sha256(b"key-of-shop").digest()
        opened.rows("INSERT INTO api_key VALUES (%s, 'shop')", digest)
        yield opened


@contextmanager
def _following(workflow_id: str, *options: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    command = [*_COMMAND, "trace", workflow_id, "--follow", *options]
    with subprocess.Popen(command, text=True, **{"stdout": subprocess.PIPE, **more}) as process:
        try:
            yield process
        finally:
            process.kill()


def _end(door: Door, workflow_id: str, state: str) -> None:
    door.rows("UPDATE step SET state = %s WHERE workflow_id = %s", state, workflow_id)
    door.rows(
        "UPDATE workflow SET state = %s, finished_at = now() WHERE id = %s", state, workflow_id
    )


@pytest.mark.usefixtures("doorbell")
def test_changes_come_as_they_happen(door: Door) -> None:
    """First what is, then a line for each new state, and the workflow's own at its end."""
    workflow_id = door.report(login()).json()["workflow_id"]
    with _following(workflow_id, "--json") as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        first = [next(lines) for _ in range(6)]
        assert [change["state"] for change in first] == ["ready", *["planned"] * 4, "accepted"]
        door.rows(
            "UPDATE step SET state = 'done', attempts = 1, host = 'h1'"
            " WHERE workflow_id = %s AND position = 0",
            workflow_id,
        )
        change = next(lines)
        assert (change["task"], change["state"], change["host"]) == (
            "device_checks.check_device",
            "done",
            "h1",
        )
        _end(door, workflow_id, "done")
        rest = list(lines)
        assert [change["state"] for change in rest] == ["done"] * 5
        assert rest[-1] == {"workflow": workflow_id, "state": "done"}
        assert process.wait(_SECONDS) == 0


@pytest.mark.usefixtures("doorbell")
def test_one_that_fails_is_told_by_the_exit_code(door: Door) -> None:
    """Without a terminal people have a line for each change."""
    workflow_id = door.report(login()).json()["workflow_id"]
    _end(door, workflow_id, "dead")
    with _following(workflow_id) as process:
        said, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == 1
    assert "external_api.score_login dead" in said
    assert said.endswith(f"login {workflow_id}: dead\n")


@pytest.mark.usefixtures("doorbell")
def test_a_terminal_has_the_tree(door: Door) -> None:
    """In place of lines that run away."""
    workflow_id = door.report(login()).json()["workflow_id"]
    _end(door, workflow_id, "done")
    ours, theirs = pty.openpty()
    with _following(workflow_id, stdout=theirs) as process:
        assert process.wait(_SECONDS) == 0
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        """The other side is closed."""
    os.close(ours)
    assert "└──" in shown.decode()


def test_who_is_not_there_is_not_waited_for(door: Door, doorbell: Run) -> None:
    """As without --follow."""
    assert doorbell("trace", uuid4(), "--follow")[0] == 4
