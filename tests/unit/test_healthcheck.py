"""What is made of a process's last word."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from services.healthcheck import main
from services.heartbeat import Heartbeat


def check(
    capsys: pytest.CaptureFixture[str], file: Path, *options: str, role: str = "worker"
) -> tuple[int, str]:
    code = main([role, "--file", str(file), *options])
    return code, capsys.readouterr().out.strip()


def write(file: Path, state: str, age: float = 0.0, trouble: str | None = None) -> None:
    file.write_text(json.dumps({"at": monotonic() - age, "state": state, "trouble": trouble}))


@pytest.mark.parametrize(
    ("state", "age", "is_alive", "is_useful"),
    [
        ("consuming", 1, True, True),
        ("consuming", 16, False, False),
        ("draining", 1, True, False),
        ("draining", 16, False, False),
        ("stopping", 1, True, False),
        # On purpose: another process would do no better, and an attempt to connect takes a while.
        ("reconnecting", 30, True, False),
        ("reconnecting", 61, False, False),
        ("waiting for PostgreSQL", 30, True, False),
        ("starting", 30, True, False),
        ("leading", 30, True, True),
        ("leading", 61, False, False),
        ("standing by", 6, True, True),
        ("waiting for the broker", 6, True, False),
    ],
)
def test_alive_and_useful(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    state: str,
    age: float,
    is_alive: bool,
    is_useful: bool,
) -> None:
    """A supervisor restarts what is not alive; a deploy waits for what is useful."""
    file = tmp_path / "heartbeat"
    write(file, state, age)
    alive, said = check(capsys, file)
    useful, _ = check(capsys, file, "--useful")
    assert (alive == 0, useful == 0) == (is_alive, is_useful)
    assert said.startswith(state)
    assert len(said.splitlines()) == 1


def test_the_real_file_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a process writes is what is understood, each word replacing the one before."""
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file))
    heartbeat.beat("consuming")
    assert check(capsys, file)[0] == 0
    heartbeat.beat("consuming", "step 7 is far past its hard limit")
    assert check(capsys, file) == (1, "consuming, but step 7 is far past its hard limit")
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat"]
    Heartbeat().beat("nobody asked")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "is not there: the process has not started yet"),
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"at": "noon", "state": "consuming", "trouble": null}', "cannot be read"),
        ({"at": monotonic() + 3600}, "is from before this machine's last start"),
    ],
)
def test_what_is_no_heartbeat(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: Any, complaint: str
) -> None:
    """One line that says what is wrong with the file, and never well."""
    file = tmp_path / "heartbeat"
    if isinstance(content, dict):
        content = json.dumps({"state": "consuming", "trouble": None, **content})
    if content is not None:
        file.write_text(content)
    code, said = check(capsys, file)
    assert code == 1
    assert complaint in said


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    """A full disk makes the process look dead from outside, and not be so."""
    Heartbeat(str(tmp_path / "not there" / "heartbeat")).beat("consuming")


def test_nothing_to_look_at(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of whoever asks is told apart from a process that is not well."""
    monkeypatch.delenv("DOORBELL_HEARTBEAT_FILE", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["worker"])
    assert ended.value.code == 2
    assert "DOORBELL_HEARTBEAT_FILE or --file" in capsys.readouterr().err
