"""Writing and checking what is generated, and the definitions with passwords."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest

from routing.__main__ import main
from routing.definitions import definitions, password_hash
from routing.diagram import diagram
from routing.load import load
from routing.permissions import permissions
from routing.render import drifted, generated_files, write_complete_definitions, write_files
from services.domain.errors import ConfigurationError

TOPOLOGY = load()
USERS = [user["name"] for user in permissions(TOPOLOGY)["users"]]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A directory with a password for each user."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in USERS:
        (folder / name).write_text(f"password of {name}\n")
    return folder


def test_rendering_twice_changes_nothing(tmp_path: Path) -> None:
    """The first run writes every file, the second none."""
    files = generated_files(TOPOLOGY, tmp_path)
    assert write_files(files) == list(files)
    assert write_files(files) == []


def test_the_command_finds_and_mends_drift(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` names the file that was changed by hand and ends with 1; `render` mends it."""
    arguments = ["--root", str(tmp_path)]
    assert main([*arguments, "render"]) == 0
    assert main([*arguments, "check"]) == 0
    changed = tmp_path / "deploy/rabbitmq/definitions.json"
    changed.write_text(changed.read_text().replace("1000000", "1"))
    capsys.readouterr()
    assert main([*arguments, "check"]) == 1
    assert capsys.readouterr().out == (
        f"{changed} is not what the topology says: run python -m routing render\n"
    )
    assert main([*arguments, "render"]) == 0
    assert capsys.readouterr().out == f"wrote {changed}\n"


def test_the_diagram_is_spliced_between_the_markers(tmp_path: Path) -> None:
    """The README keeps its words around the markers; a stale diagram is drift."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- topology:begin -->\nold\n<!-- topology:end -->\nafter\n")
    files = generated_files(TOPOLOGY, tmp_path)
    assert readme in drifted(files)
    write_files(files)
    text = readme.read_text()
    assert text.startswith("before\n<!-- topology:begin -->\n```mermaid\nflowchart LR\n")
    assert text.endswith("```\n<!-- topology:end -->\nafter\n")
    assert diagram(TOPOLOGY) in text
    assert drifted(generated_files(TOPOLOGY, tmp_path)) == []


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into a README that does not ask for the diagram."""
    (tmp_path / "README.md").write_text("words")
    assert tmp_path / "README.md" not in generated_files(TOPOLOGY, tmp_path)


def test_complete_definitions_are_for_their_owner_only(tmp_path: Path, secrets: Path) -> None:
    """The file has hashes, not passwords, and mode 0600, also over a file that had another."""
    out = tmp_path / "complete.json"
    out.write_text("old")
    out.chmod(0o644)
    write_complete_definitions(TOPOLOGY, secrets, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = out.read_text()
    assert "password of" not in text
    written = json.loads(text)
    assert [user["name"] for user in written["users"]] == USERS
    assert {key: written[key] for key in definitions(TOPOLOGY)} == definitions(TOPOLOGY)


def test_a_password_hash_is_rabbitmqs() -> None:
    """Four bytes of salt, then SHA-256 of salt and password; another salt each time."""
    salt, digest = (
        b"\x90\x8d\xc6\x0a",
        base64.b64decode(password_hash("test12", b"\x90\x8d\xc6\x0a")),
    )
    # RabbitMQ's documentation computes this example (docs/passwords).
    assert base64.b64encode(digest).decode() == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert digest[4:] == hashlib.sha256(salt + b"test12").digest()
    assert password_hash("same") != password_hash("same")


def test_every_missing_password_is_named(tmp_path: Path, secrets: Path) -> None:
    """One run tells all files that are missing or empty, and writes nothing."""
    (secrets / "beat").unlink()
    (secrets / "gateway").write_text("\n")
    out = tmp_path / "complete.json"
    with pytest.raises(ConfigurationError) as caught:
        write_complete_definitions(TOPOLOGY, secrets, out)
    assert str(caught.value).splitlines() == [
        f"{secrets}/gateway: is empty: put the user's password there",
        f"{secrets}/beat: cannot be read (No such file or directory): put the user's password there",
    ]
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path, secrets: Path) -> None:
    """A directory that is not there is a sentence, not a stack trace."""
    with pytest.raises(ConfigurationError, match="cannot be written: No such file or directory"):
        write_complete_definitions(TOPOLOGY, secrets, tmp_path / "nowhere" / "complete.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "--secrets", "."], "--secrets and --out go together"),
        (["--topology", "nowhere.yml", "check"], "nowhere.yml: cannot be read"),
        (
            ["verify", "--management-url", "host", "--user", "u", "--password-file", "nowhere"],
            "nowhere: cannot be read",
        ),
        (
            ["verify", "--management-url", "host", "--user", "u", "--password-file", __file__],
            "'host' is no address",
        ),
    ],
)
def test_usage_errors_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's mistake gives a sentence on standard error."""
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
