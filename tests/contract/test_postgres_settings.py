"""PostgreSQL vacuums and analyses alike on hosts, in containers and locally."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deploy.local import postgres
from deploy.local.layout import Layout

ROOT = Path(__file__).resolve().parents[2]


def _local() -> str:
    return "\n".join(postgres.process(Layout(ROOT), 5432).command)


def _compose() -> str:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return "\n".join(services["postgres"]["command"])


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(?:-c)?(autovacuum\w*) ?= ?(\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("text", [_local, _compose])
def test_it_vacuums_as_on_hosts(text: Callable[[], str]) -> None:
    """With PostgreSQL's own minute between two looks a fresh fleet is slow until the first."""
    hosts = ROOT / "ansible/roles/postgresql/templates/doorbell.conf.j2"
    wanted = _settings(hosts.read_text())

    assert wanted
    assert _settings(text()) == wanted
