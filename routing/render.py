"""Writes what is generated from the topology, and finds what is not as it would be written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routing.alert_cases import alert_cases
from routing.alerts import alert_rules
from routing.compose import spliced
from routing.definitions import complete_definitions, definitions
from routing.diagram import diagram
from routing.permissions import permissions
from routing.scraping import container_scraping
from routing.topology import Topology
from services.domain.errors import ConfigurationError

_BEGIN = "<!-- topology:begin -->"
_END = "<!-- topology:end -->"


def generated_files(topology: Topology, root: Path) -> dict[Path, str]:
    """Return the text of every generated file of the repository at `root`; no secret is in any.

    The README is among them when it has the two markers between which the diagram stands.
    """
    files = {
        root / "deploy/rabbitmq/definitions.json": _json(definitions(topology)),
        root / "deploy/rabbitmq/permissions.json": _json(permissions(topology)),
        root / "deploy/prometheus/rules/queues.yml": alert_rules(topology),
        root / "deploy/prometheus/tests/queues.yml": alert_cases(topology),
        root / "routing/diagram.mmd": diagram(topology),
    }
    scraping = root / "deploy/prometheus/prometheus.yml"
    if scraping.is_file():
        common = scraping.read_text(encoding="utf-8")
        files[root / "deploy/docker/prometheus.yml"] = container_scraping(common, topology)
    compose = root / "docker-compose.yml"
    if compose.is_file():
        files[compose] = spliced(compose.read_text(encoding="utf-8"), topology)
    readme = root / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        if _BEGIN in text and _END in text:
            files[readme] = _splice(text, diagram(topology))
    return files


def write_files(files: Mapping[Path, str]) -> list[Path]:
    """Write the files that differ, and return them."""
    changed = drifted(files)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return changed


def drifted(files: Mapping[Path, str]) -> list[Path]:
    """Return the files that are missing or have another text."""
    return [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text
    ]


def write_complete_definitions(topology: Topology, secrets: Path, out: Path) -> None:
    """Write the definitions with users to `out`, readable by its owner only, whole or not at all.

    Raises:
        ConfigurationError: one line for every user without a password in `secrets`/<user>.
    """
    text = _json(complete_definitions(topology, _read_passwords(topology, secrets)))
    try:
        # mkstemp makes a file that only its owner can read.
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(out)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from error


def _read_passwords(topology: Topology, secrets: Path) -> dict[str, str]:
    passwords: dict[str, str] = {}
    problems: list[str] = []
    for user in permissions(topology)["users"]:
        path = secrets / user["name"]
        try:
            passwords[user["name"]] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            problems.append(f"{path}: cannot be read ({reason}): put the user's password there")
            continue
        if not passwords[user["name"]]:
            problems.append(f"{path}: is empty: put the user's password there")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return passwords


def _splice(text: str, chart: str) -> str:
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n```mermaid\n{chart}```\n{_END}{after}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
