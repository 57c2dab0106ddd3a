"""The command's arguments, exit codes and words for mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY
from services.cli import main as cli


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, and a database that nobody listens for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOORBELL_DATABASE_URL", "postgresql://x:secret@127.0.0.1:1/doorbell")
    monkeypatch.setenv("DOORBELL_BROKER_URL", "pyamqp://x:secret@127.0.0.1:1/doorbell")
    monkeypatch.delenv("OUTLIER_API_URL", raising=False)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["topology", "show"], 0),
        ([], 2),
        (["frobnicate"], 2),
        (["trace"], 2),
        (["trace", "no\nid"], 2),
        (["trace", "00000000-0000-4000-8000-000000000000"], 3),
        (["migrate"], 3),
        (["migrate", "--directory", "/nonexistent"], 2),
        (["tenant", "create", "Not An Id", "name"], 3),
        (["key", "create", "shop", "--key-file", "/nonexistent"], 2),
        (["topology", "verify"], 2),
        (["topology", "verify", "--management-url", "http://u:p@127.0.0.1:1"], 3),
        (["topology", "verify", "--management-url", "ftp://u:p@127.0.0.1:1"], 2),
        (["logins", "import", "/nonexistent"], 2),
        (["logins", "import", "."], 2),
    ],
)
def test_exit_codes_mean_something(
    arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mistake, an absent service and success are told apart, and nobody sees a stack trace."""
    assert cli.run(arguments) == code
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err
    assert "secret" not in output.out + output.err
    if code:
        assert output.err or not arguments


def test_the_help_documents_the_exit_codes(capfd: pytest.CaptureFixture[str]) -> None:
    """Scripts can rely on what the help says."""
    cli.run(["--help"])
    assert "3 a service does not" in " ".join(capfd.readouterr().out.split())


def test_the_topology_is_shown_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    """Scripts get pools, queues and tasks without parsing a table."""
    cli.run(["topology", "show", "--json"])
    shape = json.loads(capfd.readouterr().out)
    names = [pool["pool"] for pool in shape["pools"]]
    assert "maintenance" in names
    assert {task["queue"] for task in shape["tasks"]} <= {
        queue["queue"] for pool in shape["pools"] for queue in pool["queues"]
    }


def test_the_doctor_looks_at_everything_even_when_all_is_down(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each thing that is wrong comes with a way to mend it, and does not hide the next one."""
    assert cli.run(["doctor", "--json"]) == 1
    findings = {each["what"]: each for each in json.loads(capfd.readouterr().out)}
    assert findings["librabbitmq"]["verdict"] == "ok"
    assert {what for what, each in findings.items() if each["verdict"] == "wrong"} == {
        "database",
        "broker",
    }
    assert all(each["mend"] for each in findings.values() if each["verdict"] == "wrong")
    assert "secret" not in str(findings)


def test_a_stop_loads_only_what_it_needs() -> None:
    """Where an incident is stopped, the pools have the CPU: what loads the rest too takes seconds until it acts."""
    script = (
        "import sys; from services.cli.main import run;"
        " code = run(['incident', 'stop', '00000000-0000-4000-8000-000000000000']);"
        " print(code, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, *loaded = done.stdout.split()
    assert (code, done.stderr.count("the database does not answer")) == ("3", 1)
    heavy = {"celery", "kombu", "requests", "yoyo", "yaml", "rich.progress", "services.cli.dead"}
    assert heavy & {*loaded} == set()


def test_all_commands_are_shown_and_each_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    """Also when one word alone says what is to be loaded."""
    cli.run(["--help"])
    shown = capfd.readouterr().out
    for word in (*cli._GROUPS, *cli._COMMANDS):
        assert f" {word} " in shown
        assert cli.run([word, "--help"]) == 0
        assert f"Usage: doorbell {word} " in capfd.readouterr().out
