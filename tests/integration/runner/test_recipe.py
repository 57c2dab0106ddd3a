"""CONTRIBUTING's recipe for a task of one's own, followed to the letter in a copy of the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from routing.load import load
from services import settings
from services.celery_app import make_app
from tests.support.fleet import ROOT, Fleet, doorbell_node, wait_until
from tests.support.postgres import PrivatePostgres

_BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARTS = ("routing", "services", "deploy", "ansible", "README.md", "docker-compose.yml")


def _blocks() -> dict[str, str]:
    """What the recipe puts into which file."""
    _, recipe = (ROOT / "CONTRIBUTING.md").read_text().split("## A task of your own\n")
    return dict(_BLOCK.findall(recipe.split("\n## ")[0]))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with the recipe's files in it, rendered."""
    root = tmp_path_factory.mktemp("recipe") / "repository"
    root.mkdir()
    for name in _PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name)
        else:
            shutil.copy(ROOT / name, root / name)
    blocks = _blocks()
    assert len(blocks) == 3
    (root / "services/handlers/welcome.py").write_text(blocks["services/handlers/welcome.py"])
    pool = root / "services/pools/db_writes.py"
    line = "from services.handlers.welcome import welcome_users\n"
    assert line.strip() in (ROOT / "CONTRIBUTING.md").read_text()
    text = pool.read_text().replace(
        "from services.pools.wiring", line + "from services.pools.wiring"
    )
    pool.write_text(f"{text}\n{blocks['services/pools/db_writes.py']}")
    topology = root / "routing/topology.yml"
    before, maps = topology.read_text().split("  celery.*:", 1)
    topology.write_text(f"{before}{blocks['routing/topology.yml']}  celery.*:{maps}")
    for verb in ("render", "check"):
        subprocess.run([sys.executable, "-m", "routing", verb], cwd=root, check=True, timeout=60)
    return root


@pytest.fixture(scope="module")
def fleet(
    copy: Path, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """On a broker of its own: the other tests' worker takes what waits in the same queue."""
    directory = tmp_path_factory.mktemp("recipe-fleet")
    with (
        doorbell_node() as node,
        postgres.database() as url,
        Fleet(node, url, directory) as running,
    ):
        running.start("db_writes", code=copy)
        wait_until(lambda: node.peek("db_writes", "doorbell")[1] == 1, 30, "the pool")
        yield running


def test_a_task_of_ones_own_is_done(fleet: Fleet, copy: Path) -> None:
    """Each item has its outcome; what is wrong with one is that one's alone."""
    environment = fleet.environment("operator")
    wanted = {k: v for k, v in environment.items() if k.startswith(("DOORBELL_", "OUTLIER_"))}
    app = make_app(settings.load(wanted), load(copy / "routing/topology.yml"))
    try:
        sent = [app.send_task("db_writes.welcome_user", [user]) for user in ("ada", "", "bob")]
        assert [it.get(timeout=30, propagate=False) for it in (sent[0], sent[2])] == [
            {"welcome": "ada"},
            {"welcome": "bob"},
        ]
        assert "no user" in str(sent[1].get(timeout=30, propagate=False))
    finally:
        app.ledger.publisher().close()
        app.ledger.close()
        app.close()
